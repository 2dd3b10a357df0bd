// Where in the image the largest number of each of OH x OW bins stands, as h W + w: adaptive max pooling reads x there.
//
// MATH      index[n, c, i, j] = argmax of x[n, c] over rows floor(i H / OH) .. ceil((i + 1) H / OH) - 1, and columns
//           likewise: the first of the largest, or the first NaN.
// BACKWARD  none: it is an index. The gradient of what is read there is a scatter (gather_back).
// TILING    threads (x, y, z): x the bins and channels, as they lie in memory; y and z divide the columns and rows of a
//           bin among them, and then agree in a tree. One of each where the bins are small and many.
// COST      x read once, 8 bytes a bin and channel written; bound by memory.
// EDGES     any sizes; bins overlap where OH does not divide H. A bin of -inf points at its first pixel.
// MEASURED  not yet on a GPU. Expected: 0.8 of the memory's bandwidth where a result has 2^18 numbers in its bins.
// SOURCE    the definition.
// SPEC      pooling.adaptive_max_index (tinygrad_fast/backend/pooling.py).
#include "best.cuh"
#include "pixels.cuh"

extern "C" __global__ void adaptive_max_index(
    const T* __restrict__ x, i64* __restrict__ index, int N, int H, int W, int C, int OH, int OW) {
  __shared__ Best shared[V][THREADS];
  Place at = place(OW, C);
  bool inside = at.row < OH;
  int top = (i64)at.row * H / OH, bottom = ((i64)(at.row + 1) * H + OH - 1) / OH;
  int left = (i64)at.column * W / OW, right = ((i64)(at.column + 1) * W + OW - 1) / OW;
  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    Best best[V];
#pragma unroll
    for (int v = 0; v < V; v++) best[v] = Best::none();
    for (int h = top + threadIdx.z; inside && h < bottom; h += blockDim.z)
      for (int w = left + threadIdx.y; w < right; w += blockDim.y) {
        Pack<T, V> spot = load(x + pixel(n, h, w, H, W, C) + at.channel);
#pragma unroll
        for (int v = 0; v < V; v++) best[v] = both(best[v], {wide(spot.at[v]), (Index)(h * W + w)});
      }
    bool first = put_together(best, shared, [](Best a, Best b) { return both(a, b); });
    if (inside && first)
#pragma unroll
      for (int v = 0; v < V; v++) index[pixel(n, at.row, at.column, OH, OW, C) + at.channel + v] = best[v].at;
  }
}
