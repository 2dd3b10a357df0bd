// A batch of images as files have them, bytes -> as a network takes them: moved, lit and normalised in one pass.
//
// MATH      y[n, c, i, j] = (light(x[n, c] at (a / d, b / d)) - mean[c]) / std[c]     [a, b, d] = place[n] [j, i, 1]
//           light: logit(y) = contrast (logit(x) + brightness). A rectangle of each image may be erased: y = 0 there.
//           Flips, crops, rotations, zooms and perspective are all matrices; their product is one, so that a pixel is
//           interpolated once whatever was drawn. Compiled with -DAVERAGED=1, x is not read itself but an image of
//           H x W, whose pixels are the means of bins of x: where every second pixel would be skipped otherwise.
// BACKWARD  none: images are data.
// TILING    A thread makes one pixel of y, all channels. Neighbours in a row of y read neighbours in x, along a line
//           that may be slanted, and write neighbours. The dozen numbers of image n are the same for its whole block.
//
//                x:  . . . . .        y:  p q r
//                    . p q . .            . . .          p, q, r lie on the line that place[n] makes of row i
//                    . . . r .
//
// COST      each byte of the batch once (a cache serves the corners that neighbours share), y written once: for 3
//           channels 9 bytes a pixel in float16. Step by step in float32 it is 15 for the division by 255, 24 each for
//           a move, for light and for the normalisation, and 18 to float16. Averaged, from 460 x 460 to 224 x 224, a
//           pixel reads 16 bytes a channel for 4, of those that its neighbours read as well. About 250 instructions a
//           pixel and 80 a channel, 150 with light (sm_90, counted in the listing): instructions are the limit, not
//           memory. y has the 3 channels that x has: the first convolution copies them beside a fourth
//           (conv2d_tiles.cu).
// EDGES     any sizes, fewer than 2^31 pixels an image; any strides of x; y lies N H W C. Where d is 0 the place is
//           nowhere, and reads 0, or the border. light, erased, mean and std may each be missing. With `rows`, image n
//           is rows[n] of x: a batch of images that all lie on the GPU is chosen as it is read.
// MEASURED  not yet on a GPU. Expected: 0.15 of the memory's bandwidth; 9 us for 512 images of CIFAR-10.
// SOURCE    fastai, `vision/augment.py`: affine maps composed into one sampling, lighting on logits.
// SPEC      Images.augment (tinygrad_fast/backend/images.py).
#include "common.cuh"

typedef unsigned char uint8;

__device__ __forceinline__ float wide(uint8 x) { return x; }

#include "corners.cuh"  // reads what there is a `wide` for

// The numbers of an axis of `whole` that pixel i of n is the mean of. Bins overlap if n does not divide `whole`.
struct Bin { int from, to; };
__device__ __forceinline__ Bin bin(int i, int whole, int n) {
  return {(int)((i64)i * whole / n), (int)(((i64)(i + 1) * whole + n - 1) / n)};
}

__device__ __forceinline__ A mean_of(const PIXEL* __restrict__ x, const Layout& at, Bin rows, Bin columns) {
  A sum = 0;
  for (int i = rows.from; i < rows.to; i++)
    for (int j = columns.from; j < columns.to; j++) sum += wide(x[i * at.h + j * at.w]);
  return sum / ((rows.to - rows.from) * (columns.to - columns.from));
}

extern "C" __global__ void augment(
    const PIXEL* __restrict__ x, Layout xs, const i64* __restrict__ rows, const A* __restrict__ place,
    const A* __restrict__ light, const A* __restrict__ erased, const A* __restrict__ mean, const A* __restrict__ std,
    T* __restrict__ y, int N, int C, int H, int W, int rows_of_x, int columns_of_x, int OH, int OW, Rule rule) {
  int p = blockIdx.x * blockDim.x + threadIdx.x, P = OH * OW;
  if (p >= P) return;
  int i = p / OW, j = p % OW;
  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    const A* e = erased + 4 * n;  // top, left, bottom, right
    bool hole = erased && i >= e[0] && j >= e[1] && i < e[2] && j < e[3];
    const A* m = place + 9 * n;
    A a = m[0] * A(j) + m[1] * A(i) + m[2], b = m[3] * A(j) + m[4] * A(i) + m[5], d = m[6] * A(j) + m[7] * A(i) + m[8];
    Sides across = sides(a / d, A(1), W, rule), down = sides(b / d, A(1), H, rule);
    const PIXEL* image = x + (rows ? rows[n] : n) * xs.n;
    T* to = y + (n * (i64)P + p) * C;
    Bin above[2], beside[2];
    if (AVERAGED)
#pragma unroll
      for (int k = 0; k < 2; k++)
        above[k] = bin(down.at[k], rows_of_x, H), beside[k] = bin(across.at[k], columns_of_x, W);
#pragma unroll 1
    for (int c = 0; c < C; c++) {
      const PIXEL* channel = image + c * xs.c;
      A v = AVERAGED ? between(across, down, [&](int i, int j) { return mean_of(channel, xs, above[i], beside[j]); })
                     : between(channel, xs, across, down);
      if (sizeof(PIXEL) == 1) v /= 255;
      if (light) {
        v = v < A(1e-7) ? A(1e-7) : v > A(1 - 1e-7) ? A(1 - 1e-7) : v;
        v = 1 / (1 + exp(-(log(v / (1 - v)) + light[2 * n]) * light[2 * n + 1]));
      }
      if (mean) v = (v - mean[c]) / std[c];
      narrow(hole ? A(0) : v, to[c]);
    }
  }
}
