// The input gradient of a convolution on the tile loop; also conv_transpose2d.
//
// MATH      dx[n, c, h, w] = sum over o, a, b of g[n, o, i, j] w[o, c, a, b]  where
//           i s + a d - p = h  and  j s + b d - p = w
// BACKWARD  conv2d_tiles (of g) and conv2d_dw_tiles (of w): a convolution and its gradients are linear in each operand.
// TILING    With stride s, a pixel meets only the taps for which (h + p - a d) is a multiple of s: the same taps for
//           all pixels whose h is the same modulo s. Those pixels, a *residue*, are a convolution of g with stride 1,
//           walked backwards, by those taps alone. No product with a zero is made. For s = 2 and 3 x 3:
//
//               h, w:    0 1 0 1          taps of each      (0,0): 1   (0,1): 2       9 in all, as many as
//                        2 3 2 3          residue           (1,0): 2   (1,1): 4       one pixel of g has.
//
//           Residues are told by their first tap a < s / gcd(s, d), the one with the most taps first:
//               h = a d - p modulo s,   taps a, a + s/gcd, ...,   which meet rows i + first, each d/gcd above the last.
//           Between them, where gcd(s, d) > 1, lie pixels that no tap meets: zeros are written.
//           blockIdx.z = (residue of h, residue of w, group). For each, on the tile loop:
//               dx (N ceil(H/s) ceil(W/s), C) = patches of g (.., taps O) @ w^T (taps O, C)
// COST      2 N OH OW O KH KW C / groups flop. Odd outputs in float16: g and w are first copied beside zeros, as in
//           conv2d_tiles.cu.
// EDGES     any sizes, strides, paddings, dilations; g N H W C, w KH KW C O: along k, which is what neighbours along o
//           are here, so many elements a copy as -DGV -DWV say. Images below 2^31 elements, and fewer than 2^31 pixels.
// MEASURED  not yet on a GPU. Expected, H100, the layers of conv2d_tiles.cu: the same tiles and bytes from L2, 0.3 of
//           the peak in float16 for 64 channels (126 us), 0.5 for 256; float32 0.7 of 67 Tflop/s by 1.14 instructions
//           for each multiply-add, though the 255 registers of 128 x 128 leave one block of 8 warps to a
//           multiprocessor; TF32 at most 0.39 of 494. With stride 2 the four residues of a 3 x 3 layer sum over 1, 2,
//           2 and 4 taps: a block of the first has 64 k for 64 channels, and most of its time is the way out: 0.2.
// SOURCE    V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", 2016.
// SPEC      windows.conv2d_dx (tinygrad_fast/backend/windows.py).
#include "conv2d_loop.cuh"

struct Window { int stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, gcd_h, gcd_w; };

// Residue z of one axis: its first pixel, the row of g where tap `tap` of it lies, and the taps that it meets.
struct Residue { int pixel, first, tap, apart, taps; };

__device__ __forceinline__ Residue residue(int z, int stride, int padding, int dilation, int gcd, int size) {
  int apart = stride / gcd, tap = z % apart, between = z / apart;
  int at = tap * dilation + between - padding, i = (at + padding * stride) / stride - padding;  // rounded down
  return {at - i * stride, -i, tap, apart, between || tap >= size ? 0 : (size - 1 - tap) / apart + 1};
}

// Element (c, k) of the weights of a residue: k = tap, o.
template <int V_> struct Taps {
  static const bool K_MAJOR = true;
  static const int V = V_;
  const T* p;
  int count, across, tap, first, down, right;  // of c; elements of a channel, of a tap; taps to the first, ...
  const Division &by_channels, &by_taps;
  struct Step { int k; bool inside; };

  __device__ __forceinline__ Found fix(int c) const { return {p + (i64)c * across, c < count}; }
  __device__ __forceinline__ Depths look(int k0, int end) const { return {k0, end}; }
  __device__ __forceinline__ Step step(Depths tile, int r, int more) const {
    int k = tile.k0 + r + more;
    int t = k / by_channels, o = t * by_channels.minus + k, a = t / by_taps, b = a * by_taps.minus + t;
    return {(first + a * down + b * right) * tap + o, k < tile.end};
  }
  __device__ __forceinline__ Found at(Found row, Step step) const {
    return {row.p + step.k, row.inside && step.inside};
  }
};

struct Pixels {  // of a residue, in dx
  T* dx;
  int M, N, across, H, W, stride_h, stride_w, h, w;
  const Division &by_image, &by_row;
  bool whole;
  __device__ __forceinline__ T* row(int m) const {
    int n = m / by_image, r = n * by_image.minus + m, i = r / by_row, j = i * by_row.minus + r;
    int y = i * stride_h + h, x = j * stride_w + w;
    return m < M && y < H && x < W ? dx + ((i64)(n * H + y) * W + x) * across : nullptr;
  }
  __device__ __forceinline__ void put(T* row, int n, const A (&sums)[E]) const {
    if (row && n < N) give(rounded(sums), row, n, N, whole);
  }
};

// Of Warpgroups 128 x 128 two blocks share a processor: 128 registers are what each thread may have, NVRTC 12 took 130.
const int BLOCKS = ENGINE::LAG && THREADS == 256 ? 2 : 1;

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) conv2d_dx_tiles(
    const T* __restrict__ g, const T* __restrict__ w, T* __restrict__ dx, int M, int N, int H, int W, int OH, int OW,
    int KH, int KW, int groups, Window win, Division by_image, Division by_row, Division by_channels,
    Division by_taps, Division by_taps_less, int whole) {
  int z = blockIdx.z / groups, group = blockIdx.z % groups, O = by_channels.by;
  Place at = place(blockIdx.x, M, N);
  Residue down = residue(z / win.stride_w, win.stride_h, win.padding_h, win.dilation_h, win.gcd_h, KH);
  Residue right = residue(z % win.stride_w, win.stride_w, win.padding_w, win.dilation_w, win.gcd_w, KW);
  if (right.taps < by_taps.by) by_taps = by_taps_less;
  Walk walk = {OH, OW, groups * O, 1, 1, down.first, right.first, -win.dilation_h / win.gcd_h,
               -win.dilation_w / win.gcd_w};
  Patches<false, GV> patches = {g + group * O, M, walk, by_image, by_row, by_channels, by_taps};
  Taps<WV> taps = {w + group * O, N, groups * O, N * groups * O, down.tap * KW + right.tap, down.apart * KW,
                   right.apart, by_channels, by_taps};
  Pixels pixels = {dx + group * N, M, N, groups * N, H, W, win.stride_h, win.stride_w, down.pixel, right.pixel,
                   by_image, by_row, whole != 0};
  tile_loop<ENGINE>(patches, taps, pixels, at.m, at.n, 0, down.taps * right.taps * O);
}
