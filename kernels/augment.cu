// A batch of images as files have them, bytes -> as a network takes them: moved, lit and normalised in one pass.
//
// MATH      y[n, c, i, j] = (light(x[n, c] at (a / d, b / d)) - mean[c]) / std[c]     [a, b, d] = place[n] [j, i, 1]
//           light: logit(y) = contrast (logit(x) + brightness). A rectangle of each image may be erased: y = 0 there.
//           Flips, crops, rotations, zooms and perspective are all matrices; their product is one, so that a pixel is
//           interpolated once whatever was drawn.
// BACKWARD  none: images are data.
// TILING    A thread makes one pixel of y, all channels. Neighbours in a row of y read neighbours in x, along a line
//           that may be slanted, and write neighbours. The dozen numbers of image n are the same for its whole block.
//
//                x:  . . . . .        y:  p q r
//                    . p q . .            . . .          p, q, r lie on the line that place[n] makes of row i
//                    . . . r .
//
// COST      each byte of the batch once (a cache serves the corners that neighbours share), y written once: for 3
//           channels 9 bytes a pixel in float16. Step by step in float32 it is 3 + 24 for the division by 255, 24 for a
//           move, 24 for light, 24 for the normalisation, 18 to float16. About 80 instructions a pixel for a crop, 200
//           bilinear, 300 with light: on an H100 the arithmetic takes longer than the 9 bytes.
// EDGES     any sizes, any strides of x; y lies N H W C. Where d is 0 the place is nowhere, and reads 0, or the border.
//           light, erased, mean and std may each be missing.
// MEASURED  not yet on a GPU. Expected: 0.7 of the memory's bandwidth for crops and flips, 0.3 with light. A batch of
//           512 CIFAR-10 images is 4.7 MB: 2 us, less than its launch.
// SOURCE    fastai, `vision/augment.py`: affine maps composed into one sampling, lighting on logits.
// SPEC      Images.augment (tinygrad_fast/backend/images.py).
#include "corners.cuh"

typedef unsigned char uint8;

__device__ __forceinline__ float wide(uint8 x) { return x; }

extern "C" __global__ void augment(
    const PIXEL* __restrict__ x, Layout xs, const A* __restrict__ place, const A* __restrict__ light,
    const A* __restrict__ erased, const A* __restrict__ mean, const A* __restrict__ std, T* __restrict__ y,
    int N, int C, int H, int W, int OH, int OW, Rule rule) {
  i64 p = blockIdx.x * (i64)blockDim.x + threadIdx.x, P = (i64)OH * OW;
  if (p >= P) return;
  int i = p / OW, j = p % OW;
  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    T* to = y + (n * P + p) * C;
    if (erased) {
      const A* e = erased + 4 * n;  // top, left, bottom, right
      if (i >= e[0] && j >= e[1] && i < e[2] && j < e[3]) {
        for (int c = 0; c < C; c++) narrow(A(0), to[c]);
        continue;
      }
    }
    const A* m = place + 9 * n;
    A a = m[0] * A(j) + m[1] * A(i) + m[2], b = m[3] * A(j) + m[4] * A(i) + m[5], d = m[6] * A(j) + m[7] * A(i) + m[8];
    Sides across = sides(a / d, A(1), W, rule), down = sides(b / d, A(1), H, rule);
    for (int c = 0; c < C; c++) {
      A v = 0;
#pragma unroll
      for (int k = 0; k < 4; k++) {
        int row = down.at[k / 2], column = across.at[k % 2];
        if (row >= 0 && column >= 0)
          v += wide(x[n * xs.n + c * xs.c + row * xs.h + column * xs.w]) * (across.weight[k % 2] * down.weight[k / 2]);
      }
      if (sizeof(PIXEL) == 1) v /= 255;
      if (light) {
        v = v < A(1e-7) ? A(1e-7) : v > A(1 - 1e-7) ? A(1 - 1e-7) : v;
        v = 1 / (1 + exp(-(log(v / (1 - v)) + light[2 * n]) * light[2 * n + 1]));
      }
      if (mean) v = (v - mean[c]) / std[c];
      narrow(v, to[c]);
    }
  }
}
