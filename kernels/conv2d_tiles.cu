// Convolution on the tile loop: a product of matrices with another address. The rung above conv2d.cu's.
//
// MATH      y[n, o, i, j] = relu?(sum over c, a, b of x[n, c, i s + a d - p, j s + b d - p] w[o, c, a, b]
//                                 + bias[o] + res[n, o, i, j])
//           as  y (N OH OW, O) = patches (N OH OW, KH KW C) @ w (KH KW C, O), a product for each group.
// BACKWARD  conv2d_dx_tiles.cu, conv2d_dw_tiles.cu.
// TILING    that of tile_loop.cuh, with -DENGINE=TensorCores or MultiplyAdds, on Hopper Warpgroups; blockIdx.z is the
//           group.
//
//                               k: taps, channels           o            w lies KH KW C O: neighbours along o.
//                           +----+----+----+----+       +-------+        A tile of 32 k is mostly a part of one tap:
//             pixels  m   BM|  patches          |   @  k|   w   |        32 channels of BM pixels, in whole lines.
//                           +----+----+----+----+       +-------+
//
// COST      2 N OH OW O KH KW C / groups flop; of memory x, w and y once, if L2 holds what KH KW taps read again:
//           BM BN / (BM + BN) flop a byte of float16 from L2, as a product of matrices.
//           Odd channels of float16 are first copied beside channels of zeros, 4 for 3, 8 for 5 and 7 (an asynchronous
//           copy has 4 bytes or more): for 512 images of 32 x 32 x 3, 3 MB read, 4 MB of zeros and 3 MB written, 3 us.
//           2 bytes at a time, as small matrix products do it, would be 17 instructions for each mma (dx 26, dw 13),
//           where 4 channels take 4.3 (sm_90): for these images and 64 outputs of 3 x 3, 8 us to issue against 3.
// EDGES     any sizes, strides, paddings, dilations; x N H W C, w KH KW C O (the launcher copies what lies otherwise),
//           so many elements a copy as channels and addresses allow (-DXV=8 -DWV=8). A group has N outputs, in w beside
//           zeros up to `columns`. Images below 2^31 elements, and fewer than 2^31 pixels.
// MEASURED  not yet on a GPU. Expected, H100, float16, a 3 x 3 layer of 64 channels on 512 images of 32 x 32: 39
//           Gflop, 755 MB from L2 in 126 us at 6 TB/s, 0.3 of the peak of 989 Tflop/s; of 128 channels on 16 x 16,
//           by tiles of 256 x 128, 453 MB and 0.5. Warpgroups alone could do more: it has 24 instructions for the 64
//           clocks of an HGMMA of 128 columns, 22.5 for the 32 of 64 columns, and shared memory brings their operands
//           and takes what comes for 0.9 and 0.6 of the peak. So what L2 brings is the next thing to lessen: a pixel
//           comes KH KW times. Not tried, for only a GPU can tell: copies through L1 (cp.async.ca), where the taps of
//           a row would find it again; and what the fence costs that shows copies to products (warpgroups.cuh).
//           float32: bound by issue, 1.14 instructions for each multiply-add of 128 x 128, 1.25 of 64 x 64
//           (kernels/README.md): 0.7 and 0.6 of 67 Tflop/s. As TF32, 32 and 16 flop a byte from L2: at most 0.39 and
//           0.19 of 494 Tflop/s. float64: 0.7 of 34.
// SOURCE    S. Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014; NVIDIA/cutlass, "Implicit GEMM".
// SPEC      windows.conv2d (tinygrad_fast/backend/windows.py), Composed.conv2d_epilogue.
#include "conv2d_loop.cuh"

struct Pixels {
  T* y;
  const T *bias, *res;
  int M, N, across;  // across: channels of a pixel, of all groups
  bool whole, relu;
  __device__ __forceinline__ i64 row(int m) const { return m < M ? (i64)m * across : -1; }
  __device__ __forceinline__ void put(i64 row, int n, A (&sums)[E]) const {
    if (row < 0 || n >= N) return;
    Chunk more;
    if (res) more = take(res + row, n, N, whole);
#pragma unroll
    for (int e = 0; e < E; e++) {
      if (bias && n + e < N) sums[e] += wide(bias[n + e]);
      if (res) sums[e] += wide(more.at[e]);
      if (relu && sums[e] < 0) sums[e] = 0;
    }
    give(rounded(sums), y + row, n, N, whole);
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) conv2d_tiles(
    const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias, const T* __restrict__ res,
    T* __restrict__ y, int M, int N, int K, int columns, Walk walk, Division by_image, Division by_row,
    Division by_channels, Division by_taps, int whole, int relu) {
  int group = blockIdx.z, O = gridDim.z * N;
  Place at = place(blockIdx.x, M, N);
  Patches<false, XV> patches = {x + group * by_channels.by, M, walk, by_image, by_row, by_channels, by_taps};
  Matrix<false, WV> weights = {w + group * columns, 1, int(gridDim.z) * columns, N};
  Pixels pixels = {y + group * N, bias ? bias + group * N : nullptr, res ? res + group * N : nullptr, M, N, O,
                   whole != 0, relu != 0};
  tile_loop<ENGINE>(patches, weights, pixels, at.m, at.n, 0, K);
}
