// Matrix products, a ladder: each rung computes the same and is introduced by its difference from the one before.
//
// MATH      y[b, m, n] = relu?(sum over k of x[b, m, k] w[b, k, n] + bias[n])
//           1. matmul_naive -> 2. matmul_tiles -> 3. matmul_registers -> 4. matmul_tensor (matmul_tensor.cu)
// BACKWARD  dx = g w^T, dw = x^T g: the same kernels on the same memory, with the strides of w and x swapped.
// EDGES     any M, N, K; any strides, so that a transposed or expanded operand is read where it lies; batch axes
//           that broadcast have stride 0; K = 0 gives relu?(bias). y is written in order C.
// SPEC      CPU.matmul and Composed.linear (tinygrad_fast/backend). Sums are in A (common.cuh), rounded once.
#include "matmul.cuh"

// 1. matmul_naive: a thread for every element of y.
//
// TILING    thread (tx, ty) of block (bx, by, bz) owns y[bz, by-th row of blocks.., ..]; blocks of 8 x 32 threads:
//               m = 8 bx + ty,  n = 32 by + tx   (M may need more than 65,535 blocks, and x alone allows them)
// COST      2 M N K flop, and as many as 2 M N K elements read: nothing is shared but what a cache happens to keep.
//           The 32 threads of a warp read one x[m, k] together, and 32 neighbours w[k, n]: whole lines if w's rows lie
//           in order.
// MEASURED  not yet on a GPU. Expected, float32: bound by L1 at 33 reads for 32 multiply-adds, below a tenth of peak.
// SOURCE    the definition.
extern "C" __global__ void matmul_naive(
    const T* __restrict__ x, long long xm, long long xk,  // x[m, k] is x[m xm + k xk]
    const T* __restrict__ w, long long wk, long long wn,  // w[k, n] is w[k wk + n wn]
    const T* __restrict__ bias, T* __restrict__ y, int M, int N, int K, int batches, Batch batch, int relu) {
  int m = blockIdx.x * blockDim.y + threadIdx.y, n = blockIdx.y * blockDim.x + threadIdx.x;
  if (m >= M || n >= N) return;
  for (int b = blockIdx.z; b < batches; b += gridDim.z) {
    const T* row = x + start(batch, batch.x, b) + m * xm;
    const T* column = w + start(batch, batch.w, b) + n * wn;
    A sum = 0;
    for (int k = 0; k < K; k++) sum += wide(row[k * xk]) * wide(column[k * wk]);
    finish(sum, bias, n, relu, y[((i64)b * M + m) * N + n]);
  }
}

// 2. matmul_tiles: a block shares what its threads read.
//
// TILING    TILE x TILE threads own a square of y. Along k they go in steps of TILE: together they fetch a square of x
//           and a square of w into shared memory, one element a thread; then each multiplies its row by its column.
//
//                           k ->                n ->
//                        +---------+     k  +----+----+          Every element fetched is used TILE times.
//                   m    |         |     |  |    | ws |
//                   |    +---------+     v  +----+----+
//                   v    | xs |    |        |    |    |
//                        +---------+        +---------+
//
// COST      2 M N K flop; 2 M N K / TILE elements read from memory or cache, 2 M N K from shared memory: two reads
//           for each multiply-add, which is what the next rung is about.
// EDGES     what lies outside is fetched as 0. Neighbouring threads fetch along the axis that lies in order, so a
//           transposed operand also comes in whole lines; it is then written to shared memory by columns, and the
//           padding of one puts the elements of a column into different banks.
// MEASURED  not yet on a GPU. Expected, float32: bound by shared memory (128 bytes a clock for 256 bytes that a warp's
//           32 multiply-adds read), a sixth to a quarter of peak.
// SOURCE    CUDA C++ Programming Guide, "Shared Memory".
extern "C" __global__ void __launch_bounds__(TILE * TILE) matmul_tiles(
    const T* __restrict__ x, long long xm, long long xk,
    const T* __restrict__ w, long long wk, long long wn,
    const T* __restrict__ bias, T* __restrict__ y, int M, int N, int K, int batches, Batch batch, int relu) {
  __shared__ A xs[TILE][TILE + 1], ws[TILE][TILE + 1];  // held wide: converted once, not TILE times
  int tx = threadIdx.x, ty = threadIdx.y;
  int m0 = blockIdx.x * TILE, n0 = blockIdx.y * TILE;
  int xi = xk == 1 ? ty : tx, xj = xk == 1 ? tx : ty;   // the element of each tile that this thread fetches:
  int wi = wn == 1 ? ty : tx, wj = wn == 1 ? tx : ty;   // tx runs along the axis whose elements are neighbours

  for (int b = blockIdx.z; b < batches; b += gridDim.z) {
    const T* xb = x + start(batch, batch.x, b);
    const T* wb = w + start(batch, batch.w, b);
    A sum = 0;
    for (int k0 = 0; k0 < K; k0 += TILE) {
      xs[xi][xj] = m0 + xi < M && k0 + xj < K ? wide(xb[(m0 + xi) * xm + (k0 + xj) * xk]) : A(0);
      ws[wi][wj] = k0 + wi < K && n0 + wj < N ? wide(wb[(k0 + wi) * wk + (n0 + wj) * wn]) : A(0);
      __syncthreads();  // both tiles are there
      for (int k = 0; k < TILE; k++) sum += xs[ty][k] * ws[k][tx];
      __syncthreads();  // nobody reads them any more
    }
    int m = m0 + ty, n = n0 + tx;
    if (m < M && n < N) finish(sum, bias, n, relu, y[((i64)b * M + m) * N + n]);
  }
}

// 3. matmul_registers: a thread owns 8 x 8 elements, and reads four at a time.
//
// TILING    16 x 16 threads own SIDE x SIDE of y. DEPTH columns of x and rows of w at a time go to shared memory, both
//           with k as the slow axis. For each k a thread takes 8 numbers of either and makes 64 products of them:
//
//                              w: 4 at 4 tx, 4 at 64 + 4 tx
//                                 ....       ....
//                   x: 4 at    +------+---+------+---+     16 reads for 64 multiply-adds, not 2 for each. Two halves
//                   4 ty       | 4x4  |   | 4x4  |   |     instead of 8 in a row: then the sixteen tx of a k read
//                              +------+   +------+   |     neighbouring groups of four, and no two of them meet in a
//                   4 at       | 4x4  |   | 4x4  |   |     bank.
//                   64 + 4 ty  +------+---+------+---+
//
// COST      2 M N K flop; 2 M N K / SIDE elements from memory or cache, a quarter of matmul_naive's a multiply-add from
//           shared memory: 64 bytes for 64 multiply-adds a thread.
// EDGES     what lies outside is fetched as 0. Four elements are fetched or stored as one where they are neighbours,
//           all inside, and aligned; one by one where not.
// MEASURED  not yet on a GPU. Expected, float32: bound by issue, 64 of some 75 instructions multiply-adds, less the
//           waiting at barriers, which nothing hides with one tile in flight: half of peak.
// SOURCE    V. Volkov, J. Demmel, "Benchmarking GPUs to tune dense linear algebra", 2008.
const int SIDE = 128, DEPTH = 8;

template <class E> struct __align__(sizeof(E) == 2 ? 8 : 16) Four { E at[4]; };

// The tile of SIDE rows of x (or columns of w) and DEPTH of k, transposed on the way in. `side` and `depth` are the
// strides; `count` and `K` say where the matrix ends. Each of the 256 threads fetches four elements.
__device__ __forceinline__ void fetch(A (&tile)[DEPTH][SIDE + 4], const T* p, i64 side, i64 depth, int first, int k0,
                                      int count, int K) {
  int t = threadIdx.y * 16 + threadIdx.x;
  bool across = side == 1;  // where neighbours lie: across the side, or along k
  int s = across ? t % 32 * 4 : t / 2, k = across ? t / 32 : t % 2 * 4;
  int inside = across ? count - first - s : K - k0 - k;
  if (across ? k0 + k >= K : first + s >= count) inside = 0;
  p += (first + s) * side + (k0 + k) * depth;
  i64 step = across ? side : depth;
  Four<T> four;
  if (inside >= 4 && step == 1 && (size_t)p % alignof(Four<T>) == 0) {
    four = *(const Four<T>*)p;
  } else {
    for (int i = 0; i < 4; i++) {
      if (i < inside) four.at[i] = p[i * step];
      else narrow(A(0), four.at[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; i++) tile[across ? k : k + i][across ? s + i : s] = wide(four.at[i]);
}

extern "C" __global__ void __launch_bounds__(256) matmul_registers(
    const T* __restrict__ x, long long xm, long long xk,
    const T* __restrict__ w, long long wk, long long wn,
    const T* __restrict__ bias, T* __restrict__ y, int M, int N, int K, int batches, Batch batch, int relu) {
  __shared__ A xs[DEPTH][SIDE + 4], ws[DEPTH][SIDE + 4];  // + 4: fetching along k writes columns, into different banks
  int tx = threadIdx.x, ty = threadIdx.y;
  int m0 = blockIdx.x * SIDE, n0 = blockIdx.y * SIDE;

  for (int b = blockIdx.z; b < batches; b += gridDim.z) {
    const T* xb = x + start(batch, batch.x, b);
    const T* wb = w + start(batch, batch.w, b);
    A sum[2][2][4][4] = {};  // half of the rows, half of the columns, row, column
    for (int k0 = 0; k0 < K; k0 += DEPTH) {
      fetch(xs, xb, xm, xk, m0, k0, M, K);
      fetch(ws, wb, wn, wk, n0, k0, N, K);
      __syncthreads();
#pragma unroll
      for (int k = 0; k < DEPTH; k++) {
        Four<A> row[2], column[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
          row[h] = *(const Four<A>*)&xs[k][h * SIDE / 2 + 4 * ty];
          column[h] = *(const Four<A>*)&ws[k][h * SIDE / 2 + 4 * tx];
        }
#pragma unroll
        for (int i = 0; i < 64; i++)
          sum[i / 32][i / 16 % 2][i / 4 % 4][i % 4] += row[i / 32].at[i / 4 % 4] * column[i / 16 % 2].at[i % 4];
      }
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 16; i++) {  // 16 rows of four: half, half, row
      int m = m0 + i / 8 * SIDE / 2 + 4 * ty + i % 4, n = n0 + i / 4 % 2 * SIDE / 2 + 4 * tx;
      T* to = y + ((i64)b * M + m) * N + n;
      Four<T> four;
#pragma unroll
      for (int j = 0; j < 4; j++)
        if (m < M && n + j < N) finish(sum[i / 8][i / 4 % 2][i % 4][j], bias, n + j, relu, four.at[j]);
      if (m < M && n + 3 < N && (size_t)to % alignof(Four<T>) == 0) {
        *(Four<T>*)to = four;
      } else {
        for (int j = 0; j < 4; j++)
          if (m < M && n + j < N) to[j] = four.at[j];
      }
    }
  }
}
