// One planted fault a kernel, in the line marked FAULT: test_emulator.py wants each reported with thread and line. ALSO
// is a line that is named beside it: where another thread waits, or a copy.
#include "tensor_cores.cuh"

// Reported always

extern "C" __global__ void barrier_not_for_all(float* y) {
  if (threadIdx.x < 40) __syncthreads();  // FAULT
  y[threadIdx.x] = 1;
}

extern "C" __global__ void two_barriers(float* y) {
  if (threadIdx.x < 32) {
    __syncthreads();  // FAULT
  } else {
    __syncthreads();  // ALSO
  }
  y[threadIdx.x] = 1;
}

extern "C" __global__ void barrier_for_some(float* y) {
  if (threadIdx.x < 3) __syncthreads();  // FAULT
  y[threadIdx.x] = 1;
  __syncthreads();  // ALSO
}

extern "C" __global__ void lanes_missing(float* y) {
  if (threadIdx.x % 2) y[threadIdx.x] = __shfl_xor_sync(~0u, 1.0f, 1);  // FAULT
  __syncthreads();
}

extern "C" __global__ void two_collectives(float* y) {
  unsigned v = threadIdx.x % 2 ? __ballot_sync(~0u, 1) : __shfl_sync(~0u, 1u, 0);  // FAULT
  y[threadIdx.x] = v;
}

extern "C" __global__ void absent_lane(float* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0xffff, 1.0f, 20);  // FAULT
}

extern "C" __global__ void not_in_mask(float* y) {
  y[threadIdx.x] = __ballot_sync(1, 1);  // FAULT
}

extern "C" __global__ void half_a_warp(float* y) {
  float d[4] = {};
  u32 a[4] = {}, b[2] = {};
  if (threadIdx.x < 16) mma_f16(d, a, b);  // FAULT
  __syncthreads();
  y[threadIdx.x] = d[0];
}

extern "C" __global__ void small_warp(float* y) {
  float d[4] = {};
  u32 a[4] = {}, b[2] = {};
  if (threadIdx.x >= 48) return;
  if (threadIdx.x >= 32) mma_f16(d, a, b);  // FAULT
  y[threadIdx.x] = d[0];
}

extern "C" __global__ void copy_not_aligned(const float* x, float* y) {
  DYNAMIC_SHARED(float, held);
  copy_async<16>(shared_address(held + 4 * threadIdx.x), x + 1, true);  // FAULT
  y[threadIdx.x] = 1;
}

// Reported by the checking mode: n = 64 elements, one block of 64 threads unless a test says two

extern "C" __global__ void past_the_end(float* y) {
  y[threadIdx.x + 1] = 1;  // FAULT
}

template <class E> struct List { const E* at; int size; };
template <class E> using Arrays = List<E*>;

extern "C" __global__ void past_one_of_a_list(Arrays<float> ys) {
  ys.at[0][threadIdx.x] = 1;
  ys.at[1][threadIdx.x + 1] = 1;  // FAULT
}

extern "C" __global__ void past_a_list(Arrays<float> ys) {
  ys.at[ys.size][threadIdx.x] = 1;  // FAULT
}

extern "C" __global__ void before_the_start(const float* x, float* y) {
  y[threadIdx.x] = x[(int)threadIdx.x - 1];  // FAULT
}

extern "C" __global__ void between_the_rows(const float* x, float* y) {  // x is every other element of a larger array
  y[threadIdx.x] = x[threadIdx.x];  // FAULT
}

extern "C" __global__ void unwritten_result(float* y) {
  y[threadIdx.x] += 1;  // FAULT
}

extern "C" __global__ void unwritten_shared(float* y) {
  __shared__ float held[64];
  if (threadIdx.x != 5) held[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = held[threadIdx.x];  // FAULT
}

extern "C" __global__ void past_shared(float* y) {
  DYNAMIC_SHARED(float, held);
  held[threadIdx.x] = 1;  // FAULT
  y[threadIdx.x] = held[threadIdx.x];
}

extern "C" __global__ void no_barrier(const float* x, float* y) {
  __shared__ float held[64];
  held[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = held[63 - threadIdx.x];  // FAULT
}

extern "C" __global__ void no_second_barrier(const float* x, float* y) {
  __shared__ float held[64];
  for (int i = 0; i < 2; i++) {
    held[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = held[63 - threadIdx.x];  // FAULT
  }
}

extern "C" __global__ void two_writers(float* y) {
  y[threadIdx.x / 2] = 1;  // FAULT
}

extern "C" __global__ void two_blocks(float* y) {
  y[threadIdx.x] = blockIdx.x;  // FAULT
}

extern "C" __global__ void in_step(float* y) {  // lanes of a warp do not wait for each other by themselves
  __shared__ float held[64];
  held[threadIdx.x] = 1;
  __syncthreads();
  for (int n = 16; n; n /= 2)
    if (threadIdx.x < n) held[threadIdx.x] += held[threadIdx.x + n];  // FAULT
  if (threadIdx.x == 0) y[0] = held[0];
}

extern "C" __global__ void half_atomic(int* y) {
  __shared__ int sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  threadIdx.x < 63 ? (void)atomicAdd(&sum, 1) : (void)(sum = 7);  // FAULT
  __syncthreads();
  y[threadIdx.x] = sum;
}

// The same in templates, whose variables compilers place and name in other ways

template <class V> __device__ V late(V* y) {
  __shared__ V held[64];
  if (threadIdx.x != 5) held[threadIdx.x] = 1;
  __syncthreads();
  return held[threadIdx.x];  // FAULT
}
extern "C" __global__ void unwritten_in_template(float* y) { y[threadIdx.x] = late(y); }

template <class V> __device__ void beyond(V* y) {
  __shared__ V one[64], two[64];
  one[threadIdx.x] = 1;
  two[threadIdx.x + 1] = 2;  // FAULT
  __syncthreads();
  y[threadIdx.x] = one[63 - threadIdx.x] + two[1];
}
extern "C" __global__ void past_in_template(float* y) { beyond(y); }

template <class V> __device__ V hasty(const V* x) {
  __shared__ V held[64];
  held[threadIdx.x] = x[threadIdx.x];
  return held[63 - threadIdx.x];  // FAULT
}
extern "C" __global__ void no_barrier_in_template(const float* x, float* y) { y[threadIdx.x] = hasty(x); }

extern "C" __global__ void past_one_of_two(float* y) {
  __shared__ float one[64], two[64];
  one[threadIdx.x] = two[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = one[threadIdx.x + 1] + two[threadIdx.x + 1];  // FAULT
}

// Copies on their way

extern "C" __global__ void copy_from_outside(const float* x, float* y) {
  DYNAMIC_SHARED(float, held);
  copy_async<4>(shared_address(held + threadIdx.x), x + threadIdx.x + 1, true);  // FAULT
  copy_commit();
  copy_wait<0>();
  y[threadIdx.x] = 1;
}

extern "C" __global__ void copy_to_outside(const float* x, float* y) {
  DYNAMIC_SHARED(float, held);
  copy_async<16>(shared_address(held + 4 * threadIdx.x), x, true);  // FAULT
  copy_commit();
  copy_wait<0>();
  y[threadIdx.x] = 1;
}

extern "C" __global__ void no_wait(const float* x, float* y) {
  DYNAMIC_SHARED(float, held);
  copy_async<4>(shared_address(held + threadIdx.x), x + threadIdx.x, true);  // ALSO
  copy_commit();
  __syncthreads();
  y[threadIdx.x] = held[threadIdx.x];  // FAULT
}

extern "C" __global__ void wait_for_too_few(const float* x, float* y) {
  DYNAMIC_SHARED(float, held);
  copy_async<4>(shared_address(held + threadIdx.x), x + threadIdx.x, true);  // ALSO
  copy_commit();
  copy_wait<1>();
  __syncthreads();
  y[threadIdx.x] = held[threadIdx.x];  // FAULT
}

extern "C" __global__ void wait_without_barrier(const float* x, float* y) {
  DYNAMIC_SHARED(float, held);
  copy_async<4>(shared_address(held + threadIdx.x), x + threadIdx.x, true);
  copy_commit();
  copy_wait<0>();
  y[threadIdx.x] = held[threadIdx.x / 2];  // FAULT
}

extern "C" __global__ void copy_over_readers(const float* x, float* y) {
  DYNAMIC_SHARED(float, held);
  held[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = held[threadIdx.x / 2];
  if (threadIdx.x == 5) copy_async<4>(shared_address(held + 31), x, true);  // FAULT
}

extern "C" __global__ void write_under_a_copy(const float* x, float* y) {
  DYNAMIC_SHARED(float, held);
  copy_async<4>(shared_address(held + threadIdx.x), x + threadIdx.x, true);  // ALSO
  __syncthreads();
  held[threadIdx.x] = 1;  // FAULT
  y[threadIdx.x] = 1;
}

extern "C" __global__ void two_copies(const float* x, float* y) {
  DYNAMIC_SHARED(float, held);
  copy_async<4>(shared_address(held + threadIdx.x / 2), x + threadIdx.x, true);  // FAULT
  y[threadIdx.x] = 1;
}

extern "C" __global__ void unwritten_fragment(float* y) {
  DYNAMIC_SHARED(u16, held);
  u32 r[4];
  ldmatrix<false>(r, shared_address(held));  // FAULT
  y[threadIdx.x] = r[0];
}
