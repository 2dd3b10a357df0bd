// Convolution and its two gradients, as their definitions say: the first rung of the ladder that matmul.cu also climbs.
// The next are matmul's: a patch of x is a row of a matrix that nobody writes down (implicit GEMM), and a loader says
// where its elements lie.
//
//     conv2d, conv2d_dx, conv2d_dw      here: an element a thread; what the others do not take
//     conv2d_tiles.cu                   the tile loop, on tensor cores or multiply-adds; conv2d_loop.cuh has the loader
//     conv2d_dx_tiles.cu                the same loader walked backwards, only by the taps that meet a pixel
//     conv2d_dw_tiles.cu                the same loader transposed; the long sum in parts
//     conv2d_narrow.cu                  groups with too few columns for tiles: depthwise, a handful of outputs
//     conv2d_moments.cu                 conv2d_tiles that also finds what a batch norm behind it wants to know
//
// MATH      y[n, o, i, j] = relu?(sum over c, a, b of x[n, c, i s + a d - p, j s + b d - p] w[o, c, a, b]
//                                 + bias[o] + res[n, o, i, j])
//           with stride s, dilation d, padding p, each for height and width; what lies outside x is 0. With groups, o
//           reads the channels of its own group alone, and w has C / groups of them.
// BACKWARD  conv2d_dx and conv2d_dw, below: the same sum, read from the other two sides. Each is a gather, never a
//           scattered write, so sums are in one order and need no atomics.
// TILING    conv2d, conv2d_dx: a thread for every element of the result, channels the fastest: neighbouring threads
//           read one pixel together, and neighbouring weights where these lie KH KW C O. conv2d_dw: a block for every
//           weight, whose threads divide the N OH OW products among them and add up in a tree.
// COST      2 N OH OW O KH KW C / groups flop each, and as many reads, most of them from a cache: nothing is shared.
// EDGES     any sizes, and any memory order of x, w and g; results lie channels-last (dw: KH KW C O).
// MEASURED  not yet on a GPU. Expected, H100, of the 67 Tflop/s of float32's multiply-adds, in any dtype but float64:
//           a tenth for conv2d and conv2d_dx, whose loops have 8 instructions for each, two of which read (an eighth,
//           by what is issued as by what L1 brings); a hundredth for conv2d_dw, whose divisions make 127 of them
//           (sm_90).
// SOURCE    the definition.
// SPEC      windows.conv2d, conv2d_dx, conv2d_dw (tinygrad_fast/backend/windows.py).
#include "common.cuh"

struct Image { int n, c, h, w; long long sn, sc, sh, sw; };  // (N, C, H, W) and its strides; a filter is (O, C, KH, KW)
struct Window { int sh, sw, ph, pw, dh, dw, groups; };

__device__ __forceinline__ A at(const T* p, const Image& s, int n, int c, int h, int w) {
  return wide(p[n * s.sn + c * s.sc + h * s.sh + w * s.sw]);
}

extern "C" __global__ void conv2d(
    const T* __restrict__ x, Image xs, const T* __restrict__ w, Image ws, const T* __restrict__ bias,
    const T* __restrict__ res, Image rs, T* __restrict__ y, int OH, int OW, Window win, int relu) {
  i64 i = blockIdx.x * (i64)blockDim.x + threadIdx.x;
  int O = ws.n, o = i % O, ow = i / O % OW, oh = i / O / OW % OH;
  i64 n = i / O / OW / OH;
  if (n >= xs.n) return;
  int first = o / (O / win.groups) * ws.c;  // channel of the group
  A sum = 0;
  for (int a = 0; a < ws.h; a++) {
    int h = oh * win.sh + a * win.dh - win.ph;
    if (h < 0 || h >= xs.h) continue;
    for (int b = 0; b < ws.w; b++) {
      int col = ow * win.sw + b * win.dw - win.pw;
      if (col < 0 || col >= xs.w) continue;
      for (int c = 0; c < ws.c; c++) sum += at(x, xs, n, first + c, h, col) * at(w, ws, o, c, a, b);
    }
  }
  if (bias) sum += wide(bias[o]);
  if (res) sum += at(res, rs, n, o, oh, ow);
  narrow(relu && sum < 0 ? A(0) : sum, y[i]);
}

// dx[n, c, h, w] = sum over o, a, b of g[n, o, i, j] w[o, c, a, b] where i s + a d - p = h has an i, and likewise j.
extern "C" __global__ void conv2d_dx(
    const T* __restrict__ g, Image gs, const T* __restrict__ w, Image ws, T* __restrict__ dx, int C, int H, int W,
    Window win) {
  i64 i = blockIdx.x * (i64)blockDim.x + threadIdx.x;
  int c = i % C, col = i / C % W, h = i / C / W % H;
  i64 n = i / C / W / H;
  if (n >= gs.n) return;
  int outputs = ws.n / win.groups, first = c / ws.c * outputs;  // those of the group
  A sum = 0;
  for (int a = 0; a < ws.h; a++) {
    int oh = h + win.ph - a * win.dh;
    if (oh < 0 || oh % win.sh || oh / win.sh >= gs.h) continue;
    for (int b = 0; b < ws.w; b++) {
      int ow = col + win.pw - b * win.dw;
      if (ow < 0 || ow % win.sw || ow / win.sw >= gs.w) continue;
      for (int o = first; o < first + outputs; o++)
        sum += at(g, gs, n, o, oh / win.sh, ow / win.sw) * at(w, ws, o, c % ws.c, a, b);
    }
  }
  narrow(sum, dx[i]);
}

// dw[o, c, a, b] = sum over n, i, j of g[n, o, i, j] x[n, c, i s + a d - p, j s + b d - p].
extern "C" __global__ void __launch_bounds__(128) conv2d_dw(
    const T* __restrict__ g, Image gs, const T* __restrict__ x, Image xs, T* __restrict__ dw, int C, int KW,
    Window win) {
  __shared__ A parts[4];
  int O = gs.c, o = blockIdx.x % O, c = blockIdx.x / O % C, b = blockIdx.x / O / C % KW, a = blockIdx.x / O / C / KW;
  int channel = o / (O / win.groups) * C + c;
  A sum = 0;
  for (i64 i = threadIdx.x; i < (i64)gs.n * gs.h * gs.w; i += blockDim.x) {
    int ow = i % gs.w, oh = i / gs.w % gs.h, n = i / gs.w / gs.h;
    int h = oh * win.sh + a * win.dh - win.ph, col = ow * win.sw + b * win.dw - win.pw;
    if (h >= 0 && h < xs.h && col >= 0 && col < xs.w) sum += at(g, gs, n, o, oh, ow) * at(x, xs, n, channel, h, col);
  }
#pragma unroll  // over the lanes of a warp, known to each of them
  for (int bits = 16; bits; bits /= 2) sum += __shfl_xor_sync(~0u, sum, bits);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x) return;
  for (int i = 1; i < blockDim.x / 32; i++) sum += parts[i];
  narrow(sum, dw[blockIdx.x]);
}

// Where an upper rung divides the pixels of conv2d_dw among several blocks: their sums, added up in order.
extern "C" __global__ void __launch_bounds__(256) conv2d_dw_sum(
    const A* __restrict__ parts, T* __restrict__ dw, int count, int n) {
  for (i64 i = blockIdx.x * (i64)blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
    A sum = 0;
    for (int z = 0; z < n; z++) sum += parts[z * (i64)count + i];
    narrow(sum, dw[i]);
  }
}
