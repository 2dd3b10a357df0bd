// Matrix products, the last rung of the ladder that begins in matmul.cu: two of Hopper's blocks share what they read.
//
// NEEDS     sm_90a: these instructions are Hopper's, of no GPU before it and none after.
// MATH      y[b, m, n] = relu?(sum over k of x[b, m, k] w[b, k, n] + bias[n])
// BACKWARD  as matmul.cu: the same kernel on the same memory, with the strides of w and x swapped.
//
// 6. matmul_cluster: as matmul_hopper, but two blocks, a cluster, compute tiles of y that lie one above the other.
//
// TILING    Both need the same tile of w. Each asks for one half of it, and for that half to come to both:
//
//               block 0    x of rows m to m + BM          the first half of w  --->  both
//               block 1    x of rows m + BM to m + 2 BM   the second half      --->  both
//
//           A stage is full when its bytes have come, whoever asked for them. It is refilled in both blocks at once, so
//           it is empty when both blocks' warps have done with it: each of them says so to both producers. Compiled as
//           matmul_hopper.
// COST      2 M N K flop. From L2 a block reads its tile of x and half a tile of w for each stage: of 128 x 256 with 16
//           bits 32 KB where matmul_hopper reads 48, two thirds, and a byte for 128 flop instead of 85; of 128 x 128
//           three quarters, 24 KB instead of 32. A stage of 128 x 256 is 1,024 clocks of a multiprocessor's tensor
//           cores: 32 bytes of L2 a clock instead of 48, for each of 132. As much as before comes to shared memory.
// EDGES     as matmul_hopper. Pairs of tiles are rounded up: where the last has one tile alone, its other block
//           multiplies zeros and writes nothing.
// MEASURED  not yet on a GPU. Expected, H100 and float16, 4096 x 4096 x 4096: 0.6 to 0.75 of the peak of 989 Tflop/s.
//           At 0.65 of it matmul_hopper asks L2 for 31 bytes a clock and multiprocessor, this for 21: faster where that
//           is what it waits for, else the same. The main loop has 22.5 instructions for each wgmma (22 there). 512
//           tiles are 3.9 rounds of 66 clusters. An arrival with `.release.cluster` would put a MEMBAR.ALL.GPU
//           into that loop.
// SOURCE    PTX ISA 8.5, "cp.async.bulk.tensor" (multicast), "mbarrier", "barrier.cluster"; NVIDIA/cutlass, "Efficient
//           GEMM"; pranjalssh/fast.cu, for what the step is worth.
// SPEC      CPU.matmul and Composed.linear (tinygrad_fast/backend). Products are exact, sums in float32.
#include "hopper_loop.cuh"

const int CLUSTER = 2, HALF = BN / CLUSTER;

extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(THREADS, 1) matmul_cluster(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,
    const T* __restrict__ bias, T* __restrict__ y, int M, int N, int K, int batches, int x_step, int w_step, int relu) {
  DYNAMIC_SHARED(unsigned char, shared);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, rank = cluster_rank();
  Ring ring = open_ring(shared, CLUSTER * WARPS);
  cluster_arrive();
  cluster_wait();  // both blocks have barriers

  int each = (M + CLUSTER * BM - 1) / (CLUSTER * BM) * ((N + BN - 1) / BN), steps = (K + BK - 1) / BK;
  int first = blockIdx.x / CLUSTER, next = gridDim.x / CLUSTER;
  Turn turn;
  if (warp == WARPS && lane == 0) {  // the producer
    for (int pair = first; pair < each * batches; pair += next) {
      int b = pair / each;
      Place at = place<CLUSTER * BM>(pair % each, M, N);
      for (int k = 0; k < steps * BK; k += BK, turn.next()) {
        unsigned char* to = ring.tiles + turn.stage * STAGE;
        u64* full = ring.full + turn.stage;
        barrier_wait(ring.empty + turn.stage, turn.parity ^ 1);
        barrier_expect(full, STAGE);
        for (int i = rank * BM; i < (rank + 1) * BM; i += 64, to += BOX)
          copy_box(to, &x, full, XK ? k : at.m + i, XK ? at.m + i : k, b * x_step);
        to += rank * HALF / 64 * BOX;
        for (int i = rank * HALF; i < (rank + 1) * HALF; i += 64, to += BOX)
          copy_box_to(3, to, &w, full, WK ? k : at.n + i, WK ? at.n + i : k, b * w_step);
      }
    }
  }
  if (warp < WARPS) {
    float sums[BN / 2] = {};  // for NVRTC before 12.9, which waits for each wgmma if it sees no definition
    for (int pair = first; pair < each * batches; pair += next) {
      multiply(sums, ring, turn, steps, [&](int stage) {
        if (lane < CLUSTER) barrier_arrive_at(ring.empty + stage, lane);
      });
      Place at = place<CLUSTER * BM>(pair % each, M, N);
      Rows out = {y + (i64)(pair / each) * M * N, bias, M, N, relu};
      hand_out(sums, ring, out, at.m + rank * BM + 16 * warp, at.n);
    }
  }
  cluster_arrive();
  cluster_wait();  // nobody's barriers are arrived at any more
}
