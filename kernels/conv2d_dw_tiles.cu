// The weight gradient of a convolution on the tile loop.
//
// MATH      dw[o, c, a, b] = sum over n, i, j of g[n, o, i, j] x[n, c, i s + a d - p, j s + b d - p]
//           as  dw (KH KW C, O) = patches^T (KH KW C, N OH OW) @ g (N OH OW, O), a product for each group.
// BACKWARD  conv2d_tiles (of g) and conv2d_dx_tiles (of x), with dw's gradient in the place of w.
// TILING    The product is small and the sum is long: there are few tiles, and 100,000 pixels to each. So the pixels
//           are divided among several blocks, blockIdx.z = (part, group), which sum their own; conv2d_dw_sum adds the
//           parts up in their order. How many parts, the sizes say (launchers/convolutions.py), and not how many
//           processors there are: GPUs with the same engine round the same sums the same.
//
//                         k: pixels                                      o
//                     +--------+--------+--------+            +------------------+
//           tap, c  BM| part 0 | part 1 | part 2 |     @     k| part 0           |     -> 3 tiles, added in order
//                     +--------+--------+--------+            | part 1           |
//                       patches, transposed                   | part 2           |
//                                                             +------------------+
//
//           A linear layer's weight gradient is that of a convolution of one pixel, and comes here where its sum is to
//           be divided (launchers/products.py).
// COST      2 N OH OW O KH KW C / groups flop; parts KH KW C O sums written and read, mostly in L2. Odd channels of x
//           or g in float16 are first copied beside zeros, as in conv2d_tiles.cu; those of x leave dw by another copy.
// EDGES     any sizes, strides, paddings, dilations; x and g N H W C, so many elements a copy as -DXV -DGV say;
//           `columns` as in conv2d_tiles.cu; dw lies KH KW C O. Images below 2^31 elements, and fewer than 2^31 pixels.
// MEASURED  not yet on a GPU. Expected, H100, the layers of conv2d_tiles.cu in float16: 0.25 to 0.4 of the peak of 989
//           Tflop/s, for L2 brings 600 to 1,000 MB a layer. float32: 0.7 of 67 Tflop/s, by 1.14 instructions for each
//           multiply-add; as TF32 at most 0.39 of 494 by L2, and 5.85 instructions for each mma of some 6 clocks: 0.3.
// SOURCE    NVIDIA/cutlass, "Split-K"; S. Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014.
// SPEC      windows.conv2d_dw (tinygrad_fast/backend/windows.py).
#include "conv2d_loop.cuh"

struct Weights {  // to dw, or to a part of the sums
  T* dw;
  A* part;
  int M, N, across;
  bool whole;
  __device__ __forceinline__ i64 row(int m) const { return m < M ? (i64)m * across : -1; }
  __device__ __forceinline__ void put(i64 row, int n, const A (&sums)[E]) const {
    if (row < 0 || n >= N) return;
    if (part) {
      Pack<A, E> r;
#pragma unroll
      for (int e = 0; e < E; e++) r.at[e] = sums[e];
      give(r, part + row, n, N, whole);
    } else {
      give(rounded(sums), dw + row, n, N, whole);
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) conv2d_dw_tiles(
    const T* __restrict__ g, const T* __restrict__ x, T* __restrict__ dw, A* __restrict__ parts, int M, int N, int K,
    int columns, int each, int groups, Walk walk, Division by_image, Division by_row, Division by_channels,
    Division by_taps, int whole) {
  int z = blockIdx.z / groups, group = blockIdx.z % groups, O = groups * N;
  Place at = place(blockIdx.x, M, N);
  Patches<true, XV> patches = {x + group * by_channels.by, M, walk, by_image, by_row, by_channels, by_taps};
  Matrix<false, GV> gradients = {g + group * columns, 1, groups * columns, N};
  Weights weights = {dw + group * N, parts ? parts + (i64)z * M * O + group * N : nullptr, M, N, O, whole != 0};
  int begin = z * each;
  tile_loop<ENGINE>(patches, gradients, weights, at.m, at.n, begin, K - begin < each ? K : begin + each);
}
