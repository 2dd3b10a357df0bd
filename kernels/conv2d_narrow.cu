// Convolution with few columns in a group: depthwise, narrow groups, a handful of outputs. Such a product has nothing
// to fill a tile with; it is bound by what is read and written, not by what is multiplied.
//
// MATH      conv2d_narrow: that of conv2d.cu; the input gradient as well, with the weights of a group transposed (the
//           launcher), walking backwards over g: row (i stride + first + a dilation) / up, where up divides it.
//           conv2d_dw_narrow: dw[o, c, a, b] = sum over n, i, j of g[n, o, i, j] x[n, c, i s + a d - p, j s + b d - p]
// BACKWARD  conv2d_narrow's is conv2d_narrow and conv2d_dw_narrow; theirs are these again (conv2d.cu).
// TILING    conv2d_narrow: a thread owns V = -DWIDTH neighbouring outputs of R pixels of a row. A weight is read once
//           for R pixels, a number of x once for V outputs. -DEACH=1 is depthwise: every output has a channel of its
//           own, and V of them are read at once.
//
//               lanes:  | o 0..7 | o 8..15 | ...       x x x x        one row of the image: R pixels of a thread,
//               thread:  V outputs x R pixels          . . .          and the taps that pass over them
//
//           conv2d_dw_narrow: a thread owns V neighbouring outputs and TAPS neighbouring taps. The threads of a block
//           divide its part of the pixels, and are added up in shared memory; conv2d_dw_sum (conv2d.cu) adds up the
//           blocks.
// COST      2 N OH OW O KH KW C / groups flop; of memory x, w and y once, if L1 holds what the taps read again.
//           conv2d_dw_narrow reads g and x KH times, mostly from L2.
// EDGES     any sizes, strides, paddings, dilations; images N H W C, weights KH KW C O. V divides the outputs of a
//           group (EACH: the channels). Images and results below 2^31 elements.
// MEASURED  not yet on a GPU. Expected, float16, depthwise 3 x 3: 0.7 of the bandwidth of memory, conv2d_dw_narrow
//           half.
// SOURCE    the definition; A. G. Howard et al., "MobileNets", 2017, for why depthwise matters.
// SPEC      windows.conv2d, conv2d_dx, conv2d_dw (tinygrad_fast/backend/windows.py), Composed.conv2d_epilogue.
#include "conv2d.cuh"

const int V = WIDTH, R = 4, TAPS = 4, THREADS = 256;

typedef Pack<T, V> Vector;

// at / up, if up divides it and it is a row (or a column) of the image; else negative.
__device__ __forceinline__ int met(int at, int up, int size) {
  if (up > 1) {
    if (at % up) return -1;
    at /= up;
  }
  return at < size ? at : -1;
}

extern "C" __global__ void __launch_bounds__(128, 3) conv2d_narrow(
    const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias, const T* __restrict__ res,
    T* __restrict__ y, int count, int O, int OW, int KH, int KW, int C, Walk walk, int up_h, int up_w,
    Division by_vectors, Division by_strips, Division by_rows, Division by_outputs, int relu) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  int strip = i / by_vectors, o = (strip * by_vectors.minus + i) * V;
  int row = strip / by_strips, ow = (row * by_strips.minus + strip) * R;
  int n = row / by_rows, oh = n * by_rows.minus + row;
  int channel = EACH ? o : o / by_outputs * C;  // the first that is read
  A sums[R][V] = {};
  for (int a = 0; a < KH; a++) {
    int h = met(oh * walk.stride_h + walk.first_h + a * walk.dilation_h, up_h, walk.H);
    if (h < 0) continue;
    const T* line = x + (i64)(n * walk.H + h) * walk.W * walk.pixel + channel;
    for (int b = 0; b < KW; b++) {
      const T* from[R];
#pragma unroll
      for (int r = 0; r < R; r++) {
        int col = met((ow + r) * walk.stride_w + walk.first_w + b * walk.dilation_w, up_w, walk.W);
        from[r] = col < 0 ? nullptr : line + col * walk.pixel;
      }
      const T* weights = w + (a * KW + b) * C * O + o;
      for (int c = 0; c < C; c++) {
        Vector right = *(const Vector*)(weights + c * O);
#pragma unroll
        for (int r = 0; r < R; r++) {
          if (!from[r]) continue;
          Vector left;
          if (EACH) left = *(const Vector*)from[r];
          else left.at[0] = from[r][c];
#pragma unroll
          for (int v = 0; v < V; v++) sums[r][v] += wide(left.at[EACH ? v : 0]) * wide(right.at[v]);
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < R; r++) {
    if (ow + r >= OW) continue;
    i64 at = ((i64)row * OW + ow + r) * O + o;
    Vector more = {}, out;
    if (res) more = *(const Vector*)(res + at);
#pragma unroll
    for (int v = 0; v < V; v++) {
      A sum = sums[r][v];
      if (bias) sum += wide(bias[o + v]);
      if (res) sum += wide(more.at[v]);
      narrow(relu && sum < 0 ? A(0) : sum, out.at[v]);
    }
    *(Vector*)(y + at) = out;
  }
}

// A block is `across` threads wide, a power of 2: so many vectors of outputs; the others take the next pixel.
// blockIdx.x: vectors, a channel of the group, TAPS of a row of the window, and which row; y: the part of the pixels.
extern "C" __global__ void __launch_bounds__(THREADS, 2) conv2d_dw_narrow(
    const T* __restrict__ g, const T* __restrict__ x, A* __restrict__ parts, int across, int O, int KH, int KW, int C,
    int pixels, int each, Walk walk, Division by_image, Division by_row, Division by_outputs) {
  __shared__ A all[TAPS * V][THREADS];
  int slabs = (O / V + across - 1) / across, bits = (KW + TAPS - 1) / TAPS;  // of the outputs; of a row of the window
  int o = (blockIdx.x % slabs * across + threadIdx.x % across) * V, rest = blockIdx.x / slabs;
  int c = rest % C, b0 = rest / C % bits * TAPS, a = rest / C / bits, begin = blockIdx.y * each;
  int end = pixels - begin < each ? pixels : begin + each;
  A sums[TAPS][V] = {};
  if (o < O) {
    const T* from = x + (EACH ? o : o / by_outputs * C + c);
    for (int i = begin + threadIdx.x / across; i < end; i += THREADS / across) {
      int n = i / by_image, in = n * by_image.minus + i, oh = in / by_row, ow = oh * by_row.minus + in;
      int h = oh * walk.stride_h + walk.first_h + a * walk.dilation_h, w = ow * walk.stride_w + walk.first_w;
      if ((u32)h >= (u32)walk.H) continue;
      Vector right = *(const Vector*)(g + (i64)i * O + o);
#pragma unroll
      for (int t = 0; t < TAPS; t++) {
        int at = w + (b0 + t) * walk.dilation_w;
        if (b0 + t >= KW || (u32)at >= (u32)walk.W) continue;
        const T* p = from + (i64)((n * walk.H + h) * walk.W + at) * walk.pixel;
        Vector left;
        if (EACH) left = *(const Vector*)p;
        else left.at[0] = *p;
#pragma unroll
        for (int v = 0; v < V; v++) sums[t][v] += wide(left.at[EACH ? v : 0]) * wide(right.at[v]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < TAPS * V; i++) all[i][threadIdx.x] = sums[i / V][i % V];
  __syncthreads();
  if (threadIdx.x >= across || o >= O) return;
  for (int i = 0; i < TAPS * V; i++) {
    int b = b0 + i / V;
    if (b >= KW) break;
    A sum = 0;
    for (int thread = threadIdx.x; thread < THREADS; thread += across) sum += all[i][thread];
    parts[(((i64)blockIdx.y * KH + a) * KW + b) * C * O + c * O + o + i % V] = sum;
  }
}
