// A convolution that finds the mean and variance of what it writes, while it is at hand: a batch norm behind it then
// reads it once, not twice.
//
// MATH      y = conv2d(x, w), as conv2d_tiles.cu without bias, residual and ReLU; and of the pixels of each tile, for
//           each channel, their number, mean and sum of (y - mean)^2: struct Part of moments.cuh.
// BACKWARD  that of conv2d. What is found has no gradient here: batch norm's takes it into account.
// TILING    that of conv2d_tiles.cu. The sums leave by way of shared memory (hand_out of tile_loop.cuh), E neighbours
//           of a row to a lane: always the same E channels. So a lane keeps sums of its own, about the first that it
//           met; in the end all lanes of a column are put together, then, by batch_norm_statistics, all tiles:
//
//                       lane 0    1   ..   7               E = 8, warps of 64 x 64: lane 0 meets rows 0, 4, 8, .. of
//             row 0    |  E  |  E  | .. |  E  |            its first eight channels
//             row 1    |  E  |  E  | .. |  E  |  lane 8 ..
//             row 2    |  E  |  E  | .. |  E  |  lane 16 ..           parts[tile][channel]
//
// COST      2 N OH OW O KH KW C / groups flop; of memory what conv2d_tiles moves, and 16 bytes for each tile and
//           channel (float64: 32) written and read again, in place of y: with float16 and tiles of BM = 128 pixels a
//           16th of it, of 256 a 32nd. Some 6 instructions for each element of y, and 500 of a warp at the end.
// EDGES     as conv2d_tiles.cu. The moments are those of y as it is stored, rounded to T. Large means cost var no
//           digits (moments.cuh). The same tile gives the same bits; another tile, on another GPU, may round mean and
//           var otherwise.
// MEASURED  not yet on a GPU. Expected, H100, float16, 512 images of 32 x 32 and 64 channels: 67 MB are not read
//           again, and a launch is saved: 22 us of some 190 for convolution and batch norm. The additional
//           instructions take 10 us where nothing hides them, as here: a block of 256 x 64 has a processor for itself.
//           So 0.28 of the peak of 989 Tflop/s (136 us for 39 Gflop), where conv2d_tiles has 0.3; in float32 they
//           are a 100th of the multiply-adds of a 3 x 3 layer of 64 channels: 0.6 of 67 Tflop/s.
// SOURCE    T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample variance", 1983; NVIDIA/cudnn-frontend,
//           "ConvGenStats" (sums and sums of squares, which lose digits where the mean is large: not so here).
// SPEC      Composed.conv2d_moments and Norms.batch_norm, which may take what was found as it is
//           (tinygrad_fast/backend/composed.py, norms.py).
#include "conv2d_loop.cuh"
#include "moments.cuh"

// As hand_out has them: lanes across a row of a warp's part, rows at once. And all lanes of a column of the tile.
const int ACROSS = WN / E, DOWN = 32 / ACROSS, ROWS = BM / WM * DOWN;

// What a lane has met of its E channels: sums of d = y - first and of d^2 over n pixels.
struct Met { A n, first[E], sum[E], squares[E]; };

struct Pixels {
  T* y;
  Met& met;
  int M, N, across;  // across: channels of a pixel, of all groups
  bool whole;
  __device__ __forceinline__ i64 row(int m) const { return m < M ? (i64)m * across : -1; }
  __device__ __forceinline__ void put(i64 row, int n, const A (&sums)[E]) const {
    if (row < 0 || n >= N) return;
    Chunk stored = rounded(sums);
    give(stored, y + row, n, N, whole);
#pragma unroll
    for (int e = 0; e < E; e++) {
      A v = wide(stored.at[e]);
      if (met.n == 0) met.first[e] = v;
      A d = v - met.first[e];
      met.sum[e] += d;
      met.squares[e] += d * d;
    }
    met.n += 1;
  }
};

// Puts together what the lanes of all warps met of each column, from the top of the tile to the bottom.
__device__ __forceinline__ void leave(const Met& met, Part* parts, int n0, int N) {
  DYNAMIC_SHARED(Part, found);  // [ROWS][BN], the E ACROSS columns of a warp turned: lanes' own lie side by side
  static_assert(ROWS * BN * sizeof(Part) <= STAGES * (BM + BN) * BK * sizeof(T), "there is room where the tiles were");
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, left = warp % (BN / WN) * WN;
  Part* row = found + (warp / (BN / WN) * DOWN + lane / ACROSS) * BN;
  __syncthreads();  // nobody hands out any more
#pragma unroll
  for (int e = 0; e < E; e++)
    row[left + e * ACROSS + lane % ACROSS] = part(met.n, met.first[e], met.sum[e], met.squares[e]);
  __syncthreads();
  for (int i = threadIdx.x; i < BN; i += THREADS) {
    int n = n0 + i / WN * WN + i % ACROSS * E + i % WN / ACROSS;  // whose place it is
    if (n >= N) continue;
    Part all = found[i];
    for (int r = 1; r < ROWS; r++) all = both(all, found[r * BN + i]);
    parts[n] = all;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) conv2d_moments_tiles(
    const T* __restrict__ x, const T* __restrict__ w, T* __restrict__ y, A* __restrict__ parts, int M, int N, int K,
    int columns, Walk walk, Division by_image, Division by_row, Division by_channels, Division by_taps, int whole) {
  int group = blockIdx.z, O = gridDim.z * N;
  Place at = place(blockIdx.x, M, N);
  Patches<false, XV> patches = {x + group * by_channels.by, M, walk, by_image, by_row, by_channels, by_taps};
  Matrix<false, WV> weights = {w + group * columns, 1, int(gridDim.z) * columns, N};
  Met met = {};
  Pixels pixels = {y + group * N, met, M, N, O, whole != 0};
  tile_loop<ENGINE>(patches, weights, pixels, at.m, at.n, 0, K);
  leave(met, (Part*)parts + (i64)(at.m / BM) * O + group * N, at.n, N);
}
