// Matrix products, the third rung of the ladder that begins in matmul.cu.
//
// MATH      y[b, m, n] = relu?(sum over k of x[b, m, k] w[b, k, n] + bias[n])
// BACKWARD  as matmul.cu: the same kernel on the same memory, with the strides of w and x swapped.
//
// 3. matmul_registers: a thread owns 8 x 8 elements, not one; and the next tiles are on their way while it multiplies.
//
// TILING    a block computes BM x BN of y, a warp WM x WN of it, its lanes standing 8 x 4:
//
//                         4 lanes                   float32: 128 x 128, eight warps of 64 x 32. For 4 of k a thread
//                        +---+---+---+---+          reads 8 times 4 numbers of x and of w each from shared memory,
//                8 lanes |8x8|   |   |   |  64      and makes 256 products of them. The tiles come by copies that
//                        +---+---+---+---+          nobody waits for until two tiles later (tile_loop.cuh).
//                        |   |   |   |   |
//                        +---+---+---+---+
//                               32
//
// COST      2 M N K flop; 2 M N K (BM + BN) / (2 BM BN) elements from memory or cache, for 128 x 128 one for 128 flop;
//           16 bytes of shared memory for 16 multiply-adds of a thread.
// EDGES     any M, N, K, strides, batches, as matmul.cu. Where neighbours lie decides the form of the tiles in shared
//           memory (-DXK=1: along k), and what all of them allow decides the copies (-DXV=4: elements a copy); neither
//           changes a value. y is written in order C, 16 bytes at a time where that divides its rows.
// MEASURED  not yet on a GPU. Expected, float32: bound by issue, 1.15 instructions for each multiply-add in the main
//           loop (kernels/README.md): at most 0.87 of peak, and 0.7 with what waits at barriers.
// SOURCE    V. Volkov, J. Demmel, "Benchmarking GPUs to tune dense linear algebra", 2008; NVIDIA/cutlass.
// SPEC      CPU.matmul and Composed.linear (tinygrad_fast/backend). Sums are in A (common.cuh), rounded once.
#include "matmul_loop.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, 1) matmul_registers(
    const T* __restrict__ x, long long xm, long long xk,
    const T* __restrict__ w, long long wk, long long wn,
    const T* __restrict__ bias, T* __restrict__ y, int M, int N, int K, int batches, Batch batch, int relu) {
  product<MultiplyAdds>(x, xm, xk, w, wk, wn, bias, y, M, N, K, batches, batch, relu);
}
