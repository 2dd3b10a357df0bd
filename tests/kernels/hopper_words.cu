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
