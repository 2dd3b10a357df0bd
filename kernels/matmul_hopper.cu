// Matrix products, the fifth rung of the ladder that begins in matmul.cu, for one architecture.
//
// NEEDS     sm_90a: these instructions are Hopper's, of no GPU before it and none after.
// MATH      y[b, m, n] = relu?(sum over k of x[b, m, k] w[b, k, n] + bias[n])
// BACKWARD  as matmul.cu: the same kernel on the same memory, with the strides of w and x swapped.
//
// 5. matmul_hopper: as matmul_tensor, but operands are never in registers, and nobody who multiplies copies.
//
// TILING    a block computes BM x BN of y, and each of its warpgroups (four warps) 64 rows of that, 64 x BN x 16 with
//           one instruction. One more warp, the producer, has a single thread that works: it asks for tiles of x
//           and w, 64 of k deep, for as long as the ring in shared memory has room.
//
//               producer    wait until a stage is empty, ask for boxes  --->  full[stage]
//               warpgroups  wait until it is full, multiply             --->  empty[stage]
//
//           A tile is boxes of 64 x 128 bytes, one after another, in either order of its elements: 64 rows of m (or n)
//           and 64 of k in each. Blocks stay: one a multiprocessor, which takes every gridDim.x-th tile of y, and its
//           producer is a tile ahead while the warpgroups still write. Compiled with -DBM=128 -DBN=256 -DSTAGES=4, and
//           -DXK=1 where neighbours of x lie along k, -DWK of w. The warpgroups' part stands in hopper_loop.cuh.
// COST      2 M N K flop; 2 M N K (BM + BN) / (2 BM BN) elements from L2, for 128 x 256 and 16 bits a byte for 85 flop.
//           An instruction of 64 x 256 x 16 reads 10 KB of shared memory in the 128 clocks that it takes.
// EDGES     any M, N, K: what is outside arrives as zeros, and is not written. What a tensor map cannot describe (16
//           bytes not aligned, rows that overlap, more than one batch axis) the launcher gives to matmul_tensor.
// MEASURED  not yet on a GPU. Expected, H100 and float16, 4096 x 4096 x 4096: 0.6 to 0.7 of the peak of 989 Tflop/s,
//           some 210 us. The main loop has 22 instructions for each wgmma (kernels/README.md), of which a scheduler
//           issues two warps' in the 128 clocks of each; the sums take 128 of the registers, so none is moved. 512
//           tiles are 3.9 rounds of 132 processors. Not done: TF32 (its operands must lie along k, and be rounded
//           on the way).
// SOURCE    PTX ISA 8.5, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate", "Tensors"; NVIDIA/cutlass,
//           "Efficient GEMM", warp specialization; pranjalssh/fast.cu, for what each step is worth.
// SPEC      CPU.matmul and Composed.linear (tinygrad_fast/backend). Products are exact, sums in float32.
#include "hopper_loop.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, 1) matmul_hopper(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,
    const T* __restrict__ bias, T* __restrict__ y, int M, int N, int K, int batches, int x_step, int w_step, int relu) {
  DYNAMIC_SHARED(unsigned char, shared);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  Ring ring = open_ring(shared, WARPS);
  __syncthreads();

  int each = (M + BM - 1) / BM * ((N + BN - 1) / BN), steps = (K + BK - 1) / BK;
  Turn turn;
  if (warp == WARPS) {  // the producer
    if (lane) return;
    for (int tile = blockIdx.x; tile < each * batches; tile += gridDim.x) {
      int b = tile / each;
      Place at = place(tile % each, M, N);
      for (int k = 0; k < steps * BK; k += BK, turn.next()) {
        unsigned char* to = ring.tiles + turn.stage * STAGE;
        u64* full = ring.full + turn.stage;
        barrier_wait(ring.empty + turn.stage, turn.parity ^ 1);
        barrier_expect(full, STAGE);
        for (int i = 0; i < BM; i += 64, to += BOX)
          copy_box(to, &x, full, XK ? k : at.m + i, XK ? at.m + i : k, b * x_step);
        for (int i = 0; i < BN; i += 64, to += BOX)
          copy_box(to, &w, full, WK ? k : at.n + i, WK ? at.n + i : k, b * w_step);
      }
    }
    return;
  }

  float sums[BN / 2] = {};  // for NVRTC before 12.9, which waits for each wgmma if it sees no definition
  for (int tile = blockIdx.x; tile < each * batches; tile += gridDim.x) {
    multiply(sums, ring, turn, steps, [&](int stage) {
      if (lane == 0) barrier_arrive(ring.empty + stage);
    });
    Place at = place(tile % each, M, N);
    Rows out = {y + (i64)(tile / each) * M * N, bias, M, N, relu};
    hand_out(sums, ring, out, at.m + 16 * warp, at.n);
  }
}
