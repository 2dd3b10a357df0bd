// A weighted sum of a window for each output: average pools, adaptive average pools, nearest and bilinear
// interpolation, and the gradients of all of them, which are the same with other tables.
//
// MATH      y[n, c] = A x[n, c] B^T, where A and B are zero but for a span of each row. Two arrays say what a matrix
//           is: (start, length) of each span (`rows`, `columns`), and its weights (`down`, `across`; `reach` a row).
// BACKWARD  dx = A^T g B: the spans of A's columns, once more a gather in one order.
// TILING    threads (x, y, z): x the outputs, 16 bytes of channels each, as they lie in memory; y and z divide the
//           columns and rows of a window among them:
//
//               2 x 2 windows, many outputs          one window, the whole image (global average)
//               block (256, 1, 1)                    block (8, 8, 4)
//               +--+                                 +--------+
//               |xx| -> x      each thread reads     |yyyyyyyy|  z    8 x 4 threads for each 16 bytes of channels,
//               |xx|           its window            |yyyyyyyy|  z    then a tree in shared memory
//               +--+                                 +--------+
//
// COST      x read and y written once, as long as windows that overlap find x in a cache; 2 flop a number read. Two
//           launches, A (x B^T) with sums in A's type between them, where windows are so large that they would read
//           four times as much, or so large and few that their blocks would leave most of the GPU idle. -DOUT is the
//           type written: T, A, or what the second launch rounds to.
// EDGES     any sizes, and spans of no length: their output is 0. What a window does not read does not reach it, NaN
//           included.
// MEASURED  not yet on a GPU. Expected: 0.8 of the memory's bandwidth from 2^18 numbers of x on.
// SOURCE    the definition.
// SPEC      pooling.resample2d (tinygrad_fast/backend/pooling.py); tables.spans (tinygrad_fast/tables.py).
#include "pixels.cuh"

extern "C" __global__ void resample2d(
    const T* __restrict__ x, OUT* __restrict__ y, int N, int H, int W, int C, int OH, int OW,
    const int* __restrict__ rows, const A* __restrict__ down, int rows_reach,
    const int* __restrict__ columns, const A* __restrict__ across, int columns_reach) {
  __shared__ A shared[V][THREADS];
  Place at = place(OW, C);
  bool inside = at.row < OH;
  int top = 0, height = 0, left = 0, width = 0;
  if (inside) {
    top = rows[2 * at.row], height = rows[2 * at.row + 1];
    left = columns[2 * at.column], width = columns[2 * at.column + 1];
    down += (i64)at.row * rows_reach;
    across += (i64)at.column * columns_reach;
  }

  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    A sum[V] = {};
    for (int a = threadIdx.z; a < height; a += blockDim.z) {
      const T* line = x + pixel(n, top + a, left, H, W, C) + at.channel;
      A part[V] = {};
#pragma unroll 4
      for (int b = threadIdx.y; b < width; b += blockDim.y) {
        Pack<T, V> spot = load(line + (i64)b * C);
        A weight = across[b];
#pragma unroll
        for (int v = 0; v < V; v++) part[v] += weight * wide(spot.at[v]);
      }
      A weight = down[a];
#pragma unroll
      for (int v = 0; v < V; v++) sum[v] += weight * part[v];
    }
    bool first = put_together(sum, shared, [](A a, A b) { return a + b; });
    if (inside && first) store(sum, y + pixel(n, at.row, at.column, OH, OW, C) + at.channel);
  }
}
