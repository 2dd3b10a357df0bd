// faults.cu once more, in the words of hopper.cuh: 128 threads, x a box of zeros, y 128 floats.
#include "hopper.cuh"

__device__ __forceinline__ void make(u64* barrier, int arrivals) {
  if (threadIdx.x == 0) {
    barrier_init(barrier, arrivals);
    barrier_fence();
  }
  __syncthreads();
}

// Reported always

extern "C" __global__ void missing_arrival(float* y) {
  DYNAMIC_SHARED(u64, barrier);
  make(barrier, 2);
  if (threadIdx.x == 0) barrier_arrive(barrier);
  barrier_wait(barrier, 0);  // FAULT
  y[threadIdx.x] = 1;
}

extern "C" __global__ void missing_bytes(const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + BOX);
  make(barrier, 1);
  if (threadIdx.x == 0) {
    barrier_expect(barrier, BOX + 16);
    copy_box(held, &x, barrier, 0, 0, 0);
  }
  barrier_wait(barrier, 0);  // FAULT
  y[threadIdx.x] = 1;
}

extern "C" __global__ void wrong_parity(float* y) {
  DYNAMIC_SHARED(u64, barrier);
  make(barrier, 1);
  if (threadIdx.x == 0) barrier_arrive(barrier);
  barrier_wait(barrier, 0);
  barrier_wait(barrier, 1);  // FAULT
  y[threadIdx.x] = 1;
}

extern "C" __global__ void one_arrival_too_many(float* y) {
  DYNAMIC_SHARED(u64, barrier);
  make(barrier, 2);
  if (threadIdx.x == 0) {
    barrier_expect(barrier, 16);  // the phase goes on
    barrier_arrive(barrier);
    barrier_arrive(barrier);  // FAULT
  }
  y[threadIdx.x] = 1;
}

extern "C" __global__ void no_barrier_there(float* y) {
  DYNAMIC_SHARED(u64, barrier);
  barrier_wait(barrier, 0);  // FAULT
  y[threadIdx.x] = 1;
}

extern "C" __global__ void barrier_not_aligned(float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  make((u64*)(held + 8), 1);
  if (threadIdx.x == 0) barrier_init((u64*)(held + 4), 1);  // FAULT
  y[threadIdx.x] = 1;
}

extern "C" __global__ void no_fence_for_the_copies(const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + BOX);
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    barrier_expect(barrier, BOX);
    copy_box(held, &x, barrier, 0, 0, 0);  // FAULT
  }
  y[threadIdx.x] = 1;
}

extern "C" __global__ void box_not_aligned(const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + 2 * BOX);
  make(barrier, 1);
  if (threadIdx.x == 0) {
    barrier_expect(barrier, BOX);
    copy_box(held + 512, &x, barrier, 0, 0, 0);  // FAULT
  }
  y[threadIdx.x] = 1;
}

extern "C" __global__ void nobody_waits_for_a_box(const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + BOX);
  make(barrier, 1);
  if (threadIdx.x == 0) {
    barrier_expect(barrier, BOX);
    copy_box(held, &x, barrier, 0, 0, 0);  // FAULT
  }
  y[threadIdx.x] = 1;
}

extern "C" __global__ void no_wgmma_fence(float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  float sums[64] = {};
  wgmma_f16<true, true>(sums, described(held), described(held), 1);  // FAULT
  wgmma_commit();
  wgmma_wait<0>();
  y[threadIdx.x] = sums[0];
}

extern "C" __global__ void no_second_wgmma_fence(float* y) {  // the sums were looked at in between
  DYNAMIC_SHARED(unsigned char, held);
  float sums[64] = {};
  for (int i = 0; i < 2; i++) {
    if (i == 0) wgmma_fence();
    wgmma_f16<true, true>(sums, described(held), described(held), 1);  // FAULT
    wgmma_commit();
    wgmma_wait<0>();
    sums[0] += 1;
  }
  y[threadIdx.x] = sums[0];
}

extern "C" __global__ void lanes_that_disagree(float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  float sums[64] = {};
  wgmma_fence();
  wgmma_f16<true, true>(sums, described(held), described(held + threadIdx.x % 2 * BOX), 1);  // FAULT
  y[threadIdx.x] = sums[0];
}

extern "C" __global__ void warps_that_disagree(float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  float sums[64] = {};
  wgmma_fence();
  wgmma_f16<true, true>(sums, described(held + threadIdx.x / 64 * BOX), described(held), 1);  // FAULT
  y[threadIdx.x] = sums[0];
}

extern "C" __global__ void half_a_warpgroup(float* y) {  // 64 threads
  DYNAMIC_SHARED(unsigned char, held);
  float sums[64] = {};
  wgmma_fence();
  wgmma_f16<true, true>(sums, described(held), described(held), 1);  // FAULT
  y[threadIdx.x] = sums[0];
}

// Reported by the checking mode

extern "C" __global__ void box_not_waited_for(const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + BOX);
  make(barrier, 1);
  if (threadIdx.x == 0) {
    barrier_expect(barrier, BOX);
    copy_box(held, &x, barrier, 0, 0, 0);  // ALSO
  }
  __syncthreads();
  y[threadIdx.x] = held[threadIdx.x];  // FAULT
  barrier_wait(barrier, 0);
}

extern "C" __global__ void written_under_a_box(const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + BOX);
  make(barrier, 1);
  if (threadIdx.x == 0) {
    barrier_expect(barrier, BOX);
    copy_box(held, &x, barrier, 0, 0, 0);  // ALSO
    held[5] = 1;  // FAULT
  }
  barrier_wait(barrier, 0);
  y[threadIdx.x] = 1;
}

extern "C" __global__ void box_past_shared(const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)held;
  make(barrier, 1);
  if (threadIdx.x == 0) {
    barrier_expect(barrier, BOX);
    copy_box(held + 2 * BOX, &x, barrier, 0, 0, 0);  // FAULT
  }
  barrier_wait(barrier, 0);
  y[threadIdx.x] = 1;
}

extern "C" __global__ void box_over_readers(const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + BOX);
  held[threadIdx.x] = 1;
  make(barrier, 1);
  y[threadIdx.x] = held[127 - threadIdx.x];
  if (threadIdx.x == 0) {
    barrier_expect(barrier, BOX);
    copy_box(held, &x, barrier, 0, 0, 0);  // FAULT
  }
  barrier_wait(barrier, 0);
}

extern "C" __global__ void product_of_what_nobody_wrote(float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  float sums[64] = {};
  wgmma_fence();
  wgmma_f16<true, true>(sums, described(held), described(held), 1);  // FAULT
  wgmma_commit();
  wgmma_wait<0>();
  y[threadIdx.x] = sums[0];
}

extern "C" __global__ void product_of_what_did_not_land(const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + BOX);
  float sums[64] = {};
  make(barrier, 1);
  if (threadIdx.x == 0) {
    barrier_expect(barrier, BOX);
    copy_box(held, &x, barrier, 0, 0, 0);  // ALSO
  }
  __syncthreads();
  wgmma_fence();
  wgmma_f16<true, true>(sums, described(held), described(held), 1);  // FAULT
  wgmma_commit();
  wgmma_wait<0>();
  barrier_wait(barrier, 0);
  y[threadIdx.x] = sums[0];
}

extern "C" __global__ void box_under_a_product(const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + 2 * BOX);
  float sums[64] = {};
  make(barrier, 1);
  for (int t = 0; t < 2; t++) {
    if (threadIdx.x == 0) {
      barrier_expect(barrier, 2 * BOX);
      copy_box(held, &x, barrier, 0, 0, 0);  // FAULT
      copy_box(held + BOX, &x, barrier, 0, 0, 0);
    }
    barrier_wait(barrier, t);
    wgmma_fence();
    wgmma_f16<true, true>(sums, described(held), described(held), 1);
    wgmma_commit();
    wgmma_wait<0>();  // of this warp: the others may still multiply
  }
  y[threadIdx.x] = sums[0];
}

extern "C" __global__ void written_before_all_have_read(float* y) {
  DYNAMIC_SHARED(u64, empty);  // for three warps, of which one does not wait for its lanes
  volatile float* told = (volatile float*)(empty + 1);
  if (threadIdx.x == 0) *told = 1;
  make(empty, 3);
  int warp = threadIdx.x / 32;
  if (warp == 2 && threadIdx.x % 32 == 0) barrier_arrive(empty);
  if (warp) y[threadIdx.x] = *told;
  __syncwarp();
  if (warp % 2 && threadIdx.x % 32 == 0) barrier_arrive(empty);
  if (threadIdx.x == 0) {
    barrier_wait(empty, 0);
    *told = 2;  // FAULT
  }
}
