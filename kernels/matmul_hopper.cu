// Matrix products, the rung above the last of the ladder that begins in matmul.cu, for one architecture.
//
// NEEDS     sm_90a: these instructions are Hopper's, of no GPU before it and none after.
// MATH      y[b, m, n] = relu?(sum over k of x[b, m, k] w[b, k, n] + bias[n])
// BACKWARD  as matmul.cu: the same kernel on the same memory, with the strides of w and x swapped.
//
// 5. matmul_hopper: as matmul_tensor, but operands are never in registers, and nobody who multiplies copies.
//
// TILING    a block computes BM x BN of y, and each of its warpgroups (four warps) 64 rows of that, 64 x BN x 16 with one
//           instruction. A fifth kind of warp, the producer, has a single thread that works: it asks for tiles of x and
//           w, 64 of k deep, for as long as the ring in shared memory has room.
//
//               producer    wait until a stage is empty, ask for boxes  --->  full[stage]
//               warpgroups  wait until it is full, multiply             --->  empty[stage]
//
//           A tile is boxes of 64 x 128 bytes, one after another, in either order of its elements: 64 rows of m (or n)
//           and 64 of k in each. Blocks stay: one a multiprocessor, which takes every gridDim.x-th tile of y, and its
//           producer is a tile ahead while the warpgroups still write. Compiled with -DBM=128 -DBN=256 -DSTAGES=4, and
//           -DXK=1 where neighbours of x lie along k, -DWK of w.
// COST      2 M N K flop; 2 M N K (BM + BN) / (2 BM BN) elements from L2, for 128 x 256 and 16 bits a byte for 85 flop.
//           An instruction of 64 x 256 x 16 reads 10 KB of shared memory in the 128 clocks that it takes.
// EDGES     any M, N, K: what is outside arrives as zeros, and is not written. What a tensor map cannot describe (16
//           bytes not aligned, rows that overlap, more than one batch axis) the launcher gives to matmul_tensor.
// MEASURED  not yet on a GPU. Expected, H100 and float16, 4096 x 4096 x 4096: 0.6 to 0.7 of the peak of 989 Tflop/s, some
//           210 us. The main loop has 22 instructions for each wgmma (kernels/README.md), of which a scheduler issues
//           two warps' in the 128 clocks of each; the sums take 128 of the registers, so none is moved. 512 tiles
//           are 3.9 rounds of 132 processors. Not done: clusters that share tiles by multicast, TF32 (its operands must lie
//           along k, and be rounded on the way).
// SOURCE    PTX ISA 8.5, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate", "Tensors"; NVIDIA/cutlass, "Efficient
//           GEMM", warp specialization; pranjalssh/fast.cu, for what each step is worth.
// SPEC      CPU.matmul and Composed.linear (tinygrad_fast/backend). Products are exact, sums in float32.
#include "hopper.cuh"
#include "matmul.cuh"
#include "tile_order.cuh"

const int GROUPS = BM / 64, THREADS = 128 * GROUPS + 32;
const int BK = 128 / sizeof(T);
const int X_TILE = BM / 64 * BOX, STAGE = X_TILE + BN / 64 * BOX;  // bytes
const int BAND = 32, PITCH = BAND + 8;                             // columns of sums on their way out

// Where in the ring: the stage, and the parity of its present phase.
struct Turn {
  int stage = 0, parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == STAGES) stage = 0, parity ^= 1;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) matmul_hopper(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,
    const T* __restrict__ bias, T* __restrict__ y, int M, int N, int K, int batches, int x_step, int w_step, int relu) {
  DYNAMIC_SHARED(unsigned char, ring);
  float* staged = (float*)(ring + STAGES * STAGE);
  u64* full = (u64*)(staged + 4 * GROUPS * 16 * PITCH);
  u64* empty = full + STAGES;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      barrier_init(full + s, 1);
      barrier_init(empty + s, 4 * GROUPS);
    }
    barrier_fence();
  }
  __syncthreads();

  int each = (M + BM - 1) / BM * ((N + BN - 1) / BN), steps = (K + BK - 1) / BK;
  Turn turn;
  if (warp == 4 * GROUPS) {  // the producer
    if (lane) return;
    for (int tile = blockIdx.x; tile < each * batches; tile += gridDim.x) {
      int b = tile / each;
      Place at = place(tile % each, M, N);
      for (int k = 0; k < steps * BK; k += BK, turn.next()) {
        unsigned char* to = ring + turn.stage * STAGE;
        u64* here = full + turn.stage;
        barrier_wait(empty + turn.stage, turn.parity ^ 1);
        barrier_expect(here, STAGE);
        for (int i = 0; i < BM; i += 64, to += BOX)
          copy_box(to, &x, here, XK ? k : at.m + i, XK ? at.m + i : k, b * x_step);
        for (int i = 0; i < BN; i += 64, to += BOX)
          copy_box(to, &w, here, WK ? k : at.n + i, WK ? at.n + i : k, b * w_step);
      }
    }
    return;
  }

  float sums[BN / 2];
  const int X_NEXT = (XK ? 32 : 16 * 128) / 16, W_NEXT = (WK ? 32 : 16 * 128) / 16;  // 16 of k further
  for (int tile = blockIdx.x; tile < each * batches; tile += gridDim.x) {
    Turn before;
    for (int t = 0; t < steps; t++, turn.next()) {
      const unsigned char* here = ring + turn.stage * STAGE;
      u64 xs = described(here + warp / 4 * BOX), ws = described(here + X_TILE);
      barrier_wait(full + turn.stage, turn.parity);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < BK / 16; k++)
        wgmma<XK, WK>(T(), sums, xs + k * X_NEXT, ws + k * W_NEXT, t + k);
      wgmma_commit();
      wgmma_wait<1>();
      if (t && lane == 0) barrier_arrive(empty + before.stage);
      before = turn;
    }
    wgmma_wait<0>();
    if (lane == 0) barrier_arrive(empty + before.stage);

    Place at = place(tile % each, M, N);
    Rows out = {y + (i64)(tile / each) * M * N, bias, M, N, relu};
    float* mine = staged + warp * 16 * PITCH;
    const int ACROSS = BAND / Rows::E;
#pragma unroll
    for (int n = 0; n < BN; n += BAND) {
#pragma unroll
      for (int i = 0; i < BAND / 2; i += 2)
        *(float2*)(mine + (lane / 4 + 8 * (i / 2 % 2)) * PITCH + 8 * (i / 4) + lane % 4 * 2) =
            *(const float2*)&sums[n / 2 + i];
      __syncwarp();
#pragma unroll
      for (int m = lane / ACROSS; m < 16; m += 32 / ACROSS) {
        float row[Rows::E];
#pragma unroll
        for (int e = 0; e < Rows::E; e++) row[e] = mine[m * PITCH + lane % ACROSS * Rows::E + e];
        out.put(out.row(at.m + 16 * warp + m), at.n + n + lane % ACROSS * Rows::E, row);
      }
      __syncwarp();
    }
  }
}
