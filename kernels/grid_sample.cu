// Reading an image at computed places, between its pixels; the gradient of the image and of the places.
//
// MATH      y[n, c, p] = sum of weight times x[n, c, row, column] over the corners around place p of image n
//           A place (gx, gy) runs from -1 to 1 over the image. Bilinear: four corners, weights by area; nearest: one.
// BACKWARD  dx: g added at the corners, by their weights. dgrid: sum over c of g times the slopes of y in (gx, gy).
// TILING    A thread takes one place and every lanes-th channel of it. Images that lie channels-last have 32 lanes (or
//           as many as there are channels): a corner is read as a line. Else there is one lane, and neighbours are
//           neighbouring places, which read y in lines, and x as well as the places lie.
//
//                x:  a --- b         weights: a (1 - u)(1 - v)   b u (1 - v)
//                    |  p  |                  c (1 - u) v        d u v         u, v: how far p is from a
//                    c --- d
//
//           dx may receive any number of terms at any pixel, so nobody can say who reads a pixel without looking at all
//           places. `grid_sample_corners` writes the four pixels of every place and their weights; the launcher sorts
//           them by pixel, and `scatter.cu` adds each pixel's terms in a fixed order. A thread a pixel that walks over
//           all places would need no sort, but H W times as many reads. Atomics need neither: they are faster, and add
//           in another order each time; tf.use_deterministic_algorithms(False) chooses them.
// COST      forward: x and y once, as far as a cache serves the corners that neighbours share; bound by memory. dx: 64
//           bytes a place for the list, its sort, and four times g.
// EDGES     any sizes and memory order. A corner outside the image counts 0; a place that is NaN has none.
// MEASURED  not yet on a GPU. Expected, H100, for maps that keep near pixels near, of the memory's bandwidth: forward
//           0.6 for planes of 3 channels in float32, 0.2 for 64 channels last in float16; dgrid 0.6 and 0.15.
//           Instructions are the limit: 185 of a warp for its places, 32 or one, and 84 for a channel of each lane
//           (sm_90, counted in the listing); dgrid 244, 88, and 14 for each of 5 steps of the tree. dx 0.15: for 256
//           images of 32 x 32 x 64 in float16 a million entries are sorted in some 50 us, and 134 MB of g are read,
//           mostly from L2, in 60 us, where the 67 MB of g and dx would take 20.
// SOURCE    M. Jaderberg et al., "Spatial Transformer Networks", 2015; the conventions are those of PyTorch's
//           grid_sample.
// SPEC      Sampling.grid_sample, grid_sample_dx, grid_sample_dgrid (tinygrad_fast/backend/sampling.py).
#include "corners.cuh"

// -1 .. 1 to pixels of an axis of n: their centres (align) or edges at the ends.
__device__ __forceinline__ Sides sides(A g, int n, Rule rule) {
  A slope = rule.align ? A(n - 1) / 2 : A(n) / 2;
  return sides(g * slope + A(n - 1) / 2, slope, n, rule);
}

extern "C" __global__ void grid_sample(
    const T* __restrict__ x, Layout xs, const T* __restrict__ at, T* __restrict__ y, Layout ys,
    int N, int C, int H, int W, i64 P, Rule rule) {
  i64 p = blockIdx.x * (i64)blockDim.y + threadIdx.y;
  if (p >= P) return;
  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    const T* to = at + 2 * (n * P + p);
    Sides across = sides(wide(to[0]), W, rule), down = sides(wide(to[1]), H, rule);
    for (int c = threadIdx.x; c < C; c += blockDim.x) {
      narrow(between(x + n * xs.n + c * xs.c, xs, across, down), y[n * ys.n + c * ys.c + p * ys.w]);
    }
  }
}

extern "C" __global__ void grid_sample_dgrid(
    const T* __restrict__ g, Layout gs, const T* __restrict__ x, Layout xs, const T* __restrict__ at,
    T* __restrict__ dgrid, int N, int C, int H, int W, i64 P, Rule rule) {
  i64 p = blockIdx.x * (i64)blockDim.y + threadIdx.y;
  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    i64 to = 2 * (n * P + p);
    Sides across = {{-1, -1}}, down = across;
    if (p < P) across = sides(wide(at[to]), W, rule), down = sides(wide(at[to + 1]), H, rule);
    A sum[4] = {};  // of g times each corner, over the channels of this thread; then of all
    for (int c = threadIdx.x; p < P && c < C; c += blockDim.x) {
      A gc = wide(g[n * gs.n + c * gs.c + p * gs.w]);
#pragma unroll
      for (int k = 0; k < 4; k++) {
        int row = down.at[k / 2], column = across.at[k % 2];
        if (row >= 0 && column >= 0) sum[k] += gc * wide(x[n * xs.n + c * xs.c + row * xs.h + column * xs.w]);
      }
    }
    for (int bits = blockDim.x / 2; bits; bits /= 2)
#pragma unroll
      for (int k = 0; k < 4; k++) sum[k] += __shfl_xor_sync(~0u, sum[k], bits);
    if (p < P && threadIdx.x == 0) {
      A top = sum[1] - sum[0], bottom = sum[3] - sum[2], left = sum[2] - sum[0], right = sum[3] - sum[1];
      narrow((top * down.weight[0] + bottom * down.weight[1]) * across.slope, dgrid[to]);
      narrow((left * across.weight[0] + right * across.weight[1]) * down.slope, dgrid[to + 1]);
    }
  }
}

// The list for dx: entry 4 p + k of image n is corner k of place p: which pixel of all images, and its weight.
// Nearest has one entry a place.
extern "C" __global__ void grid_sample_corners(
    const T* __restrict__ at, i64* __restrict__ pixel, A* __restrict__ weight, i64 places, i64 P, int H, int W,
    Rule rule) {
  i64 p = blockIdx.x * (i64)blockDim.x + threadIdx.x;
  if (p >= places) return;
  Sides across = sides(wide(at[2 * p]), W, rule), down = sides(wide(at[2 * p + 1]), H, rule);
  int corners = rule.nearest ? 1 : 4;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    if (k == corners) break;
    int row = down.at[k / 2], column = across.at[k % 2];
    pixel[corners * p + k] = row >= 0 && column >= 0 ? (p / P * H + row) * W + column : -1;
    weight[corners * p + k] = across.weight[k % 2] * down.weight[k / 2];
  }
}
