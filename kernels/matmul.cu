// Matrix products, a ladder: each rung computes the same and is introduced by its difference from the one before.
//
// MATH      y[b, m, n] = relu?(sum over k of x[b, m, k] w[b, k, n] + bias[n])
//           1. matmul_naive -> 2. matmul_tiles -> 3. matmul_registers -> 4. matmul_tensor -> 5. matmul_hopper
//           -> 6. matmul_cluster
// BACKWARD  dx = g w^T, dw = x^T g: the same kernels on the same memory, with the strides of w and x swapped. Of one w
//           for a batch, dw is one product over the rows of all (64 batches of 1,024 columns: no (64, 1024, 1024) is
//           written and read, 268 MB of float16); a long sum for few tiles goes to conv2d_dw_tiles, which divides it.
// EDGES     any M, N, K; any strides, so that a transposed or expanded operand is read where it lies; batch axes
//           that broadcast have stride 0; K = 0 gives relu?(bias). y is written in order C.
// SPEC      CPU.matmul and Composed.linear (tinygrad_fast/backend). Sums are in A (common.cuh), rounded once.
#include "matmul.cuh"

// 1. matmul_naive: a thread for every element of y.
//
// TILING    thread (tx, ty) of block (bx, by, bz) owns y[bz, m, n]; blocks of 8 x 32 threads:
//               m = 8 bx + ty,  n = 32 by + tx
//           M may need more than 65,535 blocks, which x alone allows; where N does, blocks go on along it.
// COST      2 M N K flop, and as many as 2 M N K elements read: nothing is shared but what a cache happens to keep.
//           The 32 threads of a warp read one x[m, k] together, and 32 neighbours w[k, n]: whole lines if w's rows lie
//           in order.
// MEASURED  not yet on a GPU. Expected, float32: bound by L1 at 33 reads for 32 multiply-adds, below a tenth of peak.
// SOURCE    the definition.
extern "C" __global__ void matmul_naive(
    const T* __restrict__ x, long long xm, long long xk,  // x[m, k] is x[m xm + k xk]
    const T* __restrict__ w, long long wk, long long wn,  // w[k, n] is w[k wk + n wn]
    const T* __restrict__ bias, T* __restrict__ y, int M, int N, int K, int batches, Batch batch, int relu) {
  int m = blockIdx.x * blockDim.y + threadIdx.y;
  if (m >= M) return;
  for (int b = blockIdx.z; b < batches; b += gridDim.z)
    for (int n = blockIdx.y * blockDim.x + threadIdx.x; n < N; n += gridDim.y * blockDim.x) {
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
// MEASURED  not yet on a GPU. Expected, float32: bound by shared memory (128 bytes a clock, and a warp's 32
//           multiply-adds read 256: one of them in two clocks, where four could be issued in each), an eighth of peak.
// SOURCE    CUDA C++ Programming Guide, "Shared Memory".
extern "C" __global__ void __launch_bounds__(TILE * TILE) matmul_tiles(
    const T* __restrict__ x, long long xm, long long xk,
    const T* __restrict__ w, long long wk, long long wn,
    const T* __restrict__ bias, T* __restrict__ y, int M, int N, int K, int batches, Batch batch, int relu) {
  __shared__ A xs[TILE][TILE + 1], ws[TILE][TILE + 1];  // held wide: converted once, not TILE times
  int tx = threadIdx.x, ty = threadIdx.y;
  int m0 = blockIdx.x * TILE;
  int xi = xk == 1 ? ty : tx, xj = xk == 1 ? tx : ty;   // the element of each tile that this thread fetches:
  int wi = wn == 1 ? ty : tx, wj = wn == 1 ? tx : ty;   // tx runs along the axis whose elements are neighbours

  for (int b = blockIdx.z; b < batches; b += gridDim.z)
    for (int n0 = blockIdx.y * TILE; n0 < N; n0 += gridDim.y * TILE) {
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
