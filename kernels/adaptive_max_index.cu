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
#include "pixels.cuh"

const int THREADS = 256;

struct Best { A top; int at; };  // a number, and its place

__device__ __forceinline__ bool better(Best a, Best b) {
  if (a.top != a.top) return b.top == b.top || a.at < b.at;
  return a.top > b.top || (a.top == b.top && a.at < b.at);
}

extern "C" __global__ void adaptive_max_index(
    const T* __restrict__ x, i64* __restrict__ index, int N, int H, int W, int C, int OH, int OW) {
  __shared__ A tops[V][THREADS];
  __shared__ int places[V][THREADS];
  Place at = place(OW, C);
  bool inside = at.row < OH;
  int top = (i64)at.row * H / OH, bottom = ((i64)(at.row + 1) * H + OH - 1) / OH;
  int left = (i64)at.column * W / OW, right = ((i64)(at.column + 1) * W + OW - 1) / OW;
  int shares = blockDim.y * blockDim.z, mine = threadIdx.z * blockDim.y + threadIdx.y;
  int me = mine * blockDim.x + threadIdx.x;

  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    Best best[V];
#pragma unroll
    for (int v = 0; v < V; v++) best[v] = {-infinity(), 0x7fffffff};
    for (int h = top + threadIdx.z; inside && h < bottom; h += blockDim.z)
      for (int w = left + threadIdx.y; w < right; w += blockDim.y) {
        Pack<T, V> spot = load(x + pixel(n, h, w, H, W, C) + at.channel);
#pragma unroll
        for (int v = 0; v < V; v++) {
          Best one = {wide(spot.at[v]), h * W + w};
          if (better(one, best[v])) best[v] = one;
        }
      }
    for (int half = shares / 2; half; half /= 2) {  // the upper half of the shares tell the lower half
      __syncthreads();
#pragma unroll
      for (int v = 0; v < V; v++) tops[v][me] = best[v].top, places[v][me] = best[v].at;
      __syncthreads();
      if (mine < half)
#pragma unroll
        for (int v = 0; v < V; v++) {
          Best other = {tops[v][me + half * blockDim.x], places[v][me + half * blockDim.x]};
          if (better(other, best[v])) best[v] = other;
        }
    }
    if (inside && mine == 0)
#pragma unroll
      for (int v = 0; v < V; v++) index[pixel(n, at.row, at.column, OH, OW, C) + at.channel + v] = best[v].at;
  }
}
