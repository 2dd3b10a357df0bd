// Every word of hopper.cuh, used as its manual does. test_hopper_words.py has the answers.
//
// NEEDS     sm_90a
#include "hopper.cuh"

// A barrier for one arrival, and the tiles that are copied to it.
__device__ __forceinline__ u64* open_barrier(unsigned char* held, int bytes) {
  u64* barrier = (u64*)(held + bytes);
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    barrier_fence();
    barrier_expect(barrier, bytes);
  }
  return barrier;
}

extern "C" __global__ void __launch_bounds__(128) box(const __grid_constant__ TensorMap x, u16* y, int i, int j, int b) {
  DYNAMIC_SHARED(unsigned char, held);  // one box, as it lies there
  u64* barrier = open_barrier(held, BOX);
  if (threadIdx.x == 0) copy_box(held, &x, barrier, i, j, b);
  __syncthreads();
  barrier_wait(barrier, 0);
  for (int e = threadIdx.x; e < BOX / 2; e += 128) y[e] = ((const u16*)held)[e];
}

extern "C" __global__ void __launch_bounds__(128) phases(const int* x, int* y, int n) {  // thread 0 tells three warps
  DYNAMIC_SHARED(u64, full);
  u64* empty = full + 1;
  volatile int* told = (volatile int*)(full + 2);
  if (threadIdx.x == 0) {
    barrier_init(full, 1);
    barrier_init(empty, 3);
  }
  __syncthreads();
  for (int t = 0; t < n; t++) {
    if (threadIdx.x == 0) {
      barrier_wait(empty, (t & 1) ^ 1);  // the first time at once
      *told = x[t];
      barrier_arrive(full);
    }
    if (threadIdx.x >= 32) {
      barrier_wait(full, t & 1);
      y[t * 96 + threadIdx.x - 32] = *told + threadIdx.x / 32;
      __syncwarp();
      if (threadIdx.x % 32 == 0) barrier_arrive(empty);
    }
  }
}

// Two blocks: each copies to those of its bits, and writes down what has come to it. Block 0 asks for matrix 0 of x,
// block 1 for matrix 1.
extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(128) shared_boxes(
    const __grid_constant__ TensorMap x, u16* y, int blocks0, int blocks1) {
  DYNAMIC_SHARED(unsigned char, held);  // a box from each block
  u64* barrier = (u64*)(held + 2 * BOX);
  int rank = cluster_rank(), comes = (blocks0 >> rank & 1) + (blocks1 >> rank & 1);
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    barrier_fence();
  }
  cluster_arrive();
  cluster_wait();
  if (threadIdx.x == 0) {
    barrier_expect(barrier, comes * BOX);
    copy_box_to(rank ? blocks1 : blocks0, held + rank * BOX, &x, barrier, 0, 0, rank);
  }
  barrier_wait(barrier, 0);
  for (int from = 0; from < 2; from++)
    if ((from ? blocks1 : blocks0) >> rank & 1)
      for (int e = threadIdx.x; e < BOX / 2; e += 128)
        y[(2 * blockIdx.x + from) * BOX / 2 + e] = ((const u16*)(held + from * BOX))[e];
  cluster_arrive();
  cluster_wait();
}

// Two blocks in step: a phase of either's barrier is an arrival of each of their eight warps.
extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(128) both_arrive(int* y, int n) {
  DYNAMIC_SHARED(u64, barrier);
  if (threadIdx.x == 0) barrier_init(barrier, 8);
  cluster_arrive();
  cluster_wait();
  for (int t = 0; t < n; t++) {
    __syncwarp();  // no lane is left behind by two phases
    if (threadIdx.x % 32 < 2) barrier_arrive_at(barrier, threadIdx.x % 32);
    barrier_wait(barrier, t & 1);
    y[(blockIdx.x * n + t) * 128 + threadIdx.x] = t + 1;
  }
  cluster_arrive();
  cluster_wait();
}

template <bool A_K, bool B_K>
__device__ __forceinline__ void multiplied(float (&sums)[BN / 2], const unsigned char* held, int more) {
  u64 a = described(held), b = described(held + BOX);
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < 64; k += 16)
    wgmma<A_K, B_K>(T(), sums, a + k / 16 * (A_K ? 2 : 128), b + k / 16 * (B_K ? 2 : 128), more | k);
  wgmma_commit();
  wgmma_wait<0>();
}

// A box that threads have written themselves, times itself transposed, both along k: of what each thread holds the first.
extern "C" __global__ void __launch_bounds__(128) product_of_what_was_written(const u16* x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  for (int c = threadIdx.x; c < BOX / 16; c += 128)
    copy_async<16>(shared_address(held) + (c ^ c / 8 % 8) * 16, x + 8 * c, true);
  copy_commit();
  copy_wait<0>();
  proxy_fence();
  __syncthreads();
  float sums[32] = {};
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < 4; k++) wgmma<true, true>(T(), sums, described(held) + 2 * k, described(held) + 2 * k, 1);
  wgmma_commit();
  wgmma_wait<0>();
#pragma unroll
  for (int i = 0; i < 32; i++) y[i * 128 + threadIdx.x] = sums[i];
}

// 64 x 64 of a and 64 x BN of b; order: 1 if neighbours of a lie along k, 2 if those of b. What each thread holds.
extern "C" __global__ void __launch_bounds__(128) product(
    const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, const float* c, float* y, int order,
    int more) {
  DYNAMIC_SHARED(unsigned char, held);
  const int BYTES = BOX + BN / 64 * BOX;
  u64* barrier = open_barrier(held, BYTES);
  if (threadIdx.x == 0) {
    copy_box(held, &a, barrier, 0, 0, 0);
    for (int n = 0; n < BN; n += 64)
      copy_box(held + BOX + n / 64 * BOX, &b, barrier, order & 2 ? 0 : n, order & 2 ? n : 0, 0);
  }
  float sums[BN / 2];
#pragma unroll
  for (int i = 0; i < BN / 2; i++) sums[i] = c[i * 128 + threadIdx.x];
  __syncthreads();
  barrier_wait(barrier, 0);
  if (order == 0) multiplied<false, false>(sums, held, more);
  if (order == 1) multiplied<true, false>(sums, held, more);
  if (order == 2) multiplied<false, true>(sums, held, more);
  if (order == 3) multiplied<true, true>(sums, held, more);
#pragma unroll
  for (int i = 0; i < BN / 2; i++) y[i * 128 + threadIdx.x] = sums[i];
}
