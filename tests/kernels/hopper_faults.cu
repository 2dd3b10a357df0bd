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

// In a cluster of two: reported always

__device__ __forceinline__ void meet() {
  cluster_arrive();
  cluster_wait();
}

// A barrier in either block, that the other block knows of.
__device__ __forceinline__ void make_two(u64* barrier, int arrivals) {
  make(barrier, arrivals);
  meet();
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) block_that_has_not_begun(float* y) {
  DYNAMIC_SHARED(u64, barrier);
  make(barrier, 1);  // and no meeting after it
  if (threadIdx.x == 127 && cluster_rank() == 0) barrier_arrive_at(barrier, 1);  // FAULT
  meet();
  y[threadIdx.x] = 1;
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) block_that_has_ended(float* y) {
  DYNAMIC_SHARED(u64, barrier);
  make_two(barrier, 1);
  if (threadIdx.x == 0 && cluster_rank() == 1) barrier_arrive_at(barrier, 0);
  if (threadIdx.x == 0 && cluster_rank() == 0) {
    barrier_wait(barrier, 0);
    barrier_arrive_at(barrier, 1);  // FAULT
  }
  if (cluster_rank()) y[threadIdx.x] = 1;
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) box_for_a_block_that_ends(
    const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + BOX);
  make_two(barrier, 1);
  if (cluster_rank() == 0) {
    if (threadIdx.x == 0) {
      barrier_expect(barrier, BOX);
      copy_box_to(3, held, &x, barrier, 0, 0, 0);  // FAULT
    }
    barrier_wait(barrier, 0);
    y[threadIdx.x] = 1;
  }
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) box_for_the_wrong_block(
    const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + BOX);
  make_two(barrier, 1);
  if (threadIdx.x == 0) barrier_expect(barrier, BOX);
  if (threadIdx.x == 0 && cluster_rank() == 0) copy_box_to(1, held, &x, barrier, 0, 0, 0);
  barrier_wait(barrier, 0);  // FAULT
  meet();
  if (cluster_rank()) y[threadIdx.x] = 1;
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) box_for_no_block(
    const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + BOX);
  make_two(barrier, 1);
  if (threadIdx.x == 0) copy_box_to(6, held, &x, barrier, 0, 0, 0);  // FAULT
  y[threadIdx.x] = 1;
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) arrival_at_no_block(float* y) {
  DYNAMIC_SHARED(u64, barrier);
  make_two(barrier, 1);
  if (threadIdx.x == 0) barrier_arrive_at(barrier, cluster_rank() + 1);  // FAULT
  y[threadIdx.x] = 1;
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) too_many_bytes_expected(
    const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + 2 * BOX);
  make_two(barrier, 1);
  if (threadIdx.x == 0) {
    barrier_expect(barrier, 2 * BOX);  // a box from either block, were it not
    copy_box_to(cluster_rank() ? 2 : 3, held + cluster_rank() * BOX, &x, barrier, 0, 0, 0);
  }
  barrier_wait(barrier, 0);  // FAULT
  meet();
  if (cluster_rank()) y[threadIdx.x] = 1;
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) no_arrival_at_the_cluster(float* y) {
  cluster_wait();  // FAULT
  y[threadIdx.x] = 1;
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) two_arrivals_at_the_cluster(float* y) {
  cluster_arrive();
  cluster_arrive();  // FAULT
  cluster_wait();
  if (cluster_rank()) y[threadIdx.x] = 1;
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

extern "C" __global__ void product_of_what_was_not_shown(float* y) {
  DYNAMIC_SHARED(u16, held);
  for (int i = threadIdx.x; i < BOX / 2; i += 128) {
    if (i == 128) proxy_fence();  // too soon
    held[i] = 0;
  }
  __syncthreads();
  float sums[64] = {};
  wgmma_fence();
  wgmma_f16<true, true>(sums, described(held), described(held), 1);  // FAULT
  wgmma_commit();
  wgmma_wait<0>();
  y[threadIdx.x] = sums[0];
}

extern "C" __global__ void product_of_what_was_shown_too_late(float* y) {
  DYNAMIC_SHARED(u16, held);
  for (int i = threadIdx.x; i < BOX / 2; i += 128) held[i] = 0;
  __syncthreads();
  proxy_fence();  // of which others know after a barrier
  float sums[64] = {};
  wgmma_fence();
  wgmma_f16<true, true>(sums, described(held), described(held), 1);  // FAULT
  wgmma_commit();
  wgmma_wait<0>();
  y[threadIdx.x] = sums[0];
}

extern "C" __global__ void product_of_what_was_shown_to_nobody(float* y) {
  DYNAMIC_SHARED(u16, held);
  for (int i = threadIdx.x; i < BOX / 2; i += 128) held[i] = 0;
  __syncthreads();
  for (int i = 0; i < 9; i++) proxy_fence();  // of none of which others know
  float sums[64] = {};
  wgmma_fence();
  wgmma_f16<true, true>(sums, described(held), described(held), 1);  // FAULT
  wgmma_commit();
  wgmma_wait<0>();
  y[threadIdx.x] = sums[0];
}

extern "C" __global__ void copied_under_a_product(const __grid_constant__ TensorMap x, const float* z, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + BOX);
  make(barrier, 1);
  if (threadIdx.x == 0) {
    barrier_expect(barrier, BOX);
    copy_box(held, &x, barrier, 0, 0, 0);
  }
  barrier_wait(barrier, 0);
  float sums[32] = {};
  wgmma_fence();
  wgmma_f16<true, true>(sums, described(held), described(held), 1);
  wgmma_commit();
  wgmma_wait<0>();
  if (threadIdx.x / 32 == 3) copy_async<16>(shared_address(held), z, true);  // FAULT
  copy_commit();
  __syncthreads();
  copy_wait<0>();
  y[threadIdx.x] = sums[0];
}

extern "C" __global__ void product_asked_for_too_soon(float* y) {
  DYNAMIC_SHARED(u16, held);
  for (int i = threadIdx.x; i < BOX / 2; i += 128) held[i] = 0;
  proxy_fence();
  float sums[64] = {};
  wgmma_fence();
  wgmma_f16<true, true>(sums, described(held), described(held), 1);  // FAULT
  wgmma_commit();
  __syncthreads();  // before it is waited for, but it may have begun
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

extern "C" __global__ void __cluster_dims__(2, 1, 1) barrier_made_at_the_same_time(float* y) {
  DYNAMIC_SHARED(u64, barrier);
  make(barrier, 1);  // of block 0, which by luck has begun
  if (threadIdx.x == 0 && cluster_rank() == 1) barrier_arrive_at(barrier, 0);  // FAULT
  meet();
  if (cluster_rank()) y[threadIdx.x] = 1;
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) block_that_may_have_ended(float* y) {
  DYNAMIC_SHARED(u64, barrier);
  make_two(barrier, 1);
  if (threadIdx.x == 0 && cluster_rank() == 1) barrier_arrive_at(barrier, 0);  // FAULT
  if (cluster_rank() == 0) __syncthreads();  // by luck it has not
  if (cluster_rank()) y[threadIdx.x] = 1;
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) too_few_bytes_expected(
    const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64* barrier = (u64*)(held + 2 * BOX);
  make_two(barrier, 1);
  if (threadIdx.x == 0) {
    barrier_expect(barrier, BOX);
    if (cluster_rank() == 0)
      for (int i = 0; i < 2; i++)
        copy_box_to(3, held + i * BOX, &x, barrier, 0, 0, 0);  // ALSO
  }
  barrier_wait(barrier, 0);
  if (cluster_rank()) y[threadIdx.x] = held[BOX + threadIdx.x];  // FAULT
  meet();
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) refilled_before_both_have_read(
    const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64 *full = (u64*)(held + 2 * BOX), *empty = full + 1;
  float sums[64] = {};
  if (threadIdx.x == 0) barrier_init(empty, 4);  // warps, where there are eight
  make_two(full, 1);
  for (int t = 0; t < 2; t++) {
    if (threadIdx.x == 0) {
      barrier_wait(empty, (t & 1) ^ 1);
      barrier_expect(full, 2 * BOX);
      copy_box_to(3, held + cluster_rank() * BOX, &x, full, 0, 0, 0);  // FAULT
    }
    barrier_wait(full, t & 1);
    wgmma_fence();
    wgmma_f16<true, true>(sums, described(held), described(held), 1);
    wgmma_commit();
    wgmma_wait<0>();
    if (threadIdx.x % 32 == 0) barrier_arrive(empty);
  }
  meet();
  if (cluster_rank()) y[threadIdx.x] = sums[0];
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) told_too_soon(
    const __grid_constant__ TensorMap x, float* y) {
  DYNAMIC_SHARED(unsigned char, held);
  u64 *full = (u64*)(held + 2 * BOX), *empty = full + 1;
  float sums[64] = {};
  if (threadIdx.x == 0) barrier_init(empty, 8);
  make_two(full, 1);
  for (int t = 0; t < 2; t++) {
    if (threadIdx.x == 0) {
      barrier_wait(empty, (t & 1) ^ 1);
      barrier_expect(full, 2 * BOX);
      copy_box_to(3, held + cluster_rank() * BOX, &x, full, 0, 0, 0);  // ALSO
    }
    barrier_wait(full, t & 1);
    if (threadIdx.x % 32 == 0) barrier_arrive_at(empty, cluster_rank() ^ 1);  // before it has been read
    wgmma_fence();
    wgmma_f16<true, true>(sums, described(held), described(held), 1);  // FAULT
    wgmma_commit();
    wgmma_wait<0>();
    if (threadIdx.x % 32 == 0) barrier_arrive(empty);
  }
  meet();
  if (cluster_rank()) y[threadIdx.x] = sums[0];
}
