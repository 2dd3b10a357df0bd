// Matrix products on tensor cores: the rung of matmul.cu's ladder which every GPU since sm_75 can take.
//
// MATH      y[b, m, n] = relu?(sum over k of x[b, m, k] w[b, k, n] + bias[n])
// BACKWARD  as matmul.cu: the same kernel on the same memory, with the strides of w and x swapped.
//
// 4. matmul_tensor: the same tiles as matmul_registers, but a warp multiplies them, not a thread.
//
// TILING    a block computes BM x BN of y, a warp WM x WN of it, by instructions that multiply 16 x 16 by 16 x 8:
//
//                             WN
//                        +---------+---------+      128 x 128, four warps of 64 x 64. For 16 of k a warp reads 64 rows
//                    WM  | 4 x 8   |         |      of x and 64 columns of w from shared memory, and gives the tensor
//                        |   mma   |         |      cores 32 instructions of 4,096 flop. The tiles come by copies that
//                        +---------+---------+      nobody waits for until three tiles later (tile_loop.cuh).
//                        |         |         |
//                        +---------+---------+
//
// COST      2 M N K flop; 2 M N K (BM + BN) / (2 BM BN) elements from L2, for 128 x 128 and float16 a byte for 64 flop;
//           a warp reads (WM + WN) 32 bytes of shared memory for 32 WM WN flop, for 64 x 64 a byte for 32. What
//           cannot be copied by 4 bytes (float16 of odd sizes, or columns apart) passes a register, 2 bytes at a time:
//           10 instructions for each mma where one operand is so, 17 where both are. From 2^30 multiplications on it is
//           first copied to rows with zeros behind them: of x 2 M K bytes are read and 4 M K written, zeros among them;
//           4095 x 4095 x 4095: 201 MB, 60 us more on an H100, where 2 bytes at a time are 480 us more to issue.
// EDGES     any M, N, K, strides, batches, as matmul.cu. Where neighbours lie decides the form of the tiles in shared
//           memory (-DXK=1: along k), and what all of them allow decides the copies (-DXV=8: elements a copy); neither
//           changes a value. y is written in order C, 16 bytes at a time where that divides its rows.
// MEASURED  not yet on a GPU. Expected, H100 and float16, 4096 x 4096 x 4096: mma.sync reaches some 0.63 of the peak of
//           989 Tflop/s, which is 220 us; but 128 x 256 tiles come from L2 at 6 TB/s in 268 us: at most 0.52 of peak,
//           likely 0.45. The main loop has 2.3 to 2.6 instructions for each mma (kernels/README.md), issued in half
//           the time that the mma takes. TF32: half the peak, and 5 instructions, for the rounding.
// SOURCE    NVIDIA/cutlass, "Efficient GEMM in CUDA"; PTX ISA, "Matrix fragments for mma.m16n8k16".
// SPEC      CPU.matmul and Composed.linear (tinygrad_fast/backend). float16 and bfloat16 multiply exactly and sum in
//           float32. float32 is first rounded to TF32, 10 bits of fraction in place of 23: it runs here only where
//           tf.set_float32_matmul_precision("high") allows that.
#include "matmul_loop.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, 1) matmul_tensor(
    const T* __restrict__ x, long long xm, long long xk,
    const T* __restrict__ w, long long wk, long long wn,
    const T* __restrict__ bias, T* __restrict__ y, int M, int N, int K, int batches, Batch batch, int relu) {
  product<TensorCores>(x, xm, xk, w, wk, wn, bias, y, M, N, K, batches, batch, relu);
}
