// Which tile a block takes: columns of GROUP row tiles, one after another, so that blocks which run at the same time
// share their rows of a and their columns of b in L2. Compiled with -DBM=128 -DBN=128, the extents of a tile; ROWS:
// where several are taken as one.

struct Place { int m, n; };

template <int ROWS = BM> __device__ __forceinline__ Place place(int block, int rows, int columns) {
  const int GROUP = 16 * BM / ROWS;
  int tiles_m = (rows + ROWS - 1) / ROWS, tiles_n = (columns + BN - 1) / BN;
  int first = block / (GROUP * tiles_n) * GROUP, in = block % (GROUP * tiles_n);
  int group = tiles_m - first < GROUP ? tiles_m - first : GROUP;
  return {(first + in % group) * ROWS, in / group * BN};
}
