// Every word of CUDA that the emulator knows, used as the programming guide does. test_emulator.py has the answers.
#include "philox.cuh"
#include "tensor_cores.cuh"

extern "C" __global__ void places(int* y) {  // where each thread says it is
  int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  int threads = blockDim.x * blockDim.y * blockDim.z;
  y[block * threads + thread] = 1000 * block + thread;
}

extern "C" __global__ void reversed(const float* x, float* y, int n) {  // shared memory that the launch sizes
  DYNAMIC_SHARED(float, held);
  held[threadIdx.x] = x[blockIdx.x * n + threadIdx.x];
  __syncthreads();
  y[blockIdx.x * n + threadIdx.x] = held[n - 1 - threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(256) block_sum(const float* x, float* y) {  // a tree, a barrier a level
  __shared__ float part[256];
  part[threadIdx.x] = x[blockIdx.x * 256 + threadIdx.x];
  for (int half = 128; half; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
  }
  if (threadIdx.x == 0) y[blockIdx.x] = part[0];
}

extern "C" __global__ void warp_sums(const float* x, float* y) {  // lanes add up without shared memory
  float sum = x[threadIdx.x];
  for (int bits = 16; bits; bits /= 2) sum += __shfl_xor_sync(~0u, sum, bits);
  if (threadIdx.x % warpSize == 0) y[threadIdx.x / warpSize] = sum;
}

extern "C" __global__ void shuffles(int* y, int width) {  // rows: from a lane, from above, from below, across
  int lane = threadIdx.x, n = blockDim.x;
  unsigned all = n == 32 ? ~0u : (1u << n) - 1;
  y[lane] = __shfl_sync(all, lane, 3, width);
  y[n + lane] = __shfl_up_sync(all, lane, 2, width);
  y[2 * n + lane] = __shfl_down_sync(all, lane, 2, width);
  y[3 * n + lane] = __shfl_xor_sync(all, lane, 1, width);
}

extern "C" __global__ void votes(const int* x, unsigned* y) {  // odd and even lanes meet apart from each other
  unsigned mask = threadIdx.x % 2 ? 0xaaaaaaaa : 0x55555555;
  if (threadIdx.x % 2) {
    y[threadIdx.x] = __ballot_sync(mask, x[threadIdx.x]);
  } else {
    y[threadIdx.x] = 10 * __any_sync(mask, x[threadIdx.x]) + __all_sync(mask, x[threadIdx.x]);
  }
}

extern "C" __global__ void early(int* y) {  // lanes that have ended are not waited for
  if (threadIdx.x >= 20) return;
  unsigned votes = __ballot_sync(~0u, 1);
  y[threadIdx.x] = (int)votes;
}

extern "C" __global__ void neighbours(int* y) {  // __syncwarp puts accesses of a warp in order
  __shared__ int held[64];
  held[threadIdx.x] = threadIdx.x;
  __syncwarp();
  int left = held[threadIdx.x / 32 * 32 + (threadIdx.x + 31) % 32];
  __syncwarp();
  held[threadIdx.x] = left;
  __syncwarp();
  y[threadIdx.x] = held[threadIdx.x / 32 * 32 + (threadIdx.x + 31) % 32];
}

extern "C" __global__ void counts(const int* x, int* y_, int* most_, int n) {  // threads of all blocks on one element
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    atomicAdd(&y_[x[i]], 1);
    atomicMax(most_, x[i]);
  }
}

struct Line { int n; float slope[2]; long long big; };

extern "C" __global__ void line(Line at, float* y, float add, double twice, i64 far) {  // all but y by value
  if (threadIdx.x < at.n) y[threadIdx.x] = at.slope[0] * threadIdx.x + at.slope[1] + add + (float)twice;
  if (threadIdx.x == 0) y[at.n] = at.big == far;
}

template <class E> struct List { const E* at; int size; };
template <class E> using Arrays = List<E*>;

// A block for each array of a list adds some of another, and a number; the other blocks count.
extern "C" __global__ void lists_(Arrays<const float> xs, Arrays<float> ys, List<double> more, int* free) {
  int i = blockIdx.x;
  if (i < xs.size) ys.at[i][threadIdx.x] += xs.at[i][threadIdx.x] + more.at[i];
  else if (threadIdx.x == 0) atomicAdd(free, 1);
}

extern "C" __global__ void conversions(const float* x, T* y, float* back, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    narrow(x[i], y[i]);
    back[i] = wide(y[i]);
  }
}

// Of tensor_cores.cuh: what each lane holds is written out, so that a layout can be read off

extern "C" __global__ void copies(const float* x, float* y, int n) {  // of 16, 8, 4 and 2 bytes; from n on: outside
  DYNAMIC_SHARED(float, held);
  int lane = threadIdx.x;
  copy_async<16>(shared_address(held + 4 * lane), x + 4 * lane, lane < n);
  copy_commit();
  copy_async<8>(shared_address(held + 128 + 2 * lane), x + 2 * lane, lane < n);
  copy_async<4>(shared_address(held + 192 + lane), x + lane, lane < n);
  copy_async<2>(shared_address((u16*)(held + 224) + lane), (const u16*)x + lane, lane < n);
  copy_commit();
  copy_wait<1>();  // the first group is there
  __syncthreads();
  for (int i = 0; i < 4; i++) y[32 * i + lane] = held[32 * i + lane];
  copy_wait<0>();
  __syncthreads();
  for (int i = 4; i < 7; i++) y[32 * i + lane] = held[32 * i + lane];
  ((u16*)(y + 224))[lane] = ((u16*)(held + 224))[lane];
}

extern "C" __global__ void fragments(const u16* x, u32* y) {  // four 8 x 8 matrices, as they are and transposed
  DYNAMIC_SHARED(u16, held);
  for (int i = threadIdx.x; i < 256; i += 32) held[i] = x[i];
  __syncthreads();
  u32 r[4];
  ldmatrix<false>(r, shared_address(held + 8 * threadIdx.x));
  for (int j = 0; j < 4; j++) y[32 * j + threadIdx.x] = r[j];
  ldmatrix<true>(r, shared_address(held + 8 * threadIdx.x));
  for (int j = 0; j < 4; j++) y[128 + 32 * j + threadIdx.x] = r[j];
}

extern "C" __global__ void products(const u32* a, const u32* b, const float* c, float* d, int kind) {  // by registers
  int lane = threadIdx.x;
  u32 left[4], right[2] = {b[lane], b[32 + lane]};
  float sums[4];
  for (int i = 0; i < 4; i++) left[i] = a[32 * i + lane], sums[i] = c[32 * i + lane];
#if defined(EMULATED) || __CUDA_ARCH__ >= 800
  if (kind == 0) mma_f16(sums, left, right);
  if (kind == 1) mma_bf16(sums, left, right);
  if (kind == 2) mma_tf32(sums, left, right);
#endif
  if (kind == 3) mma_f16_k8(sums, left[0], left[1], right[0]);
  for (int i = 0; i < 4; i++) d[32 * i + lane] = sums[i];
}

extern "C" __global__ void rounded(const u32* x, u32* y, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = round_tf32(x[i]);
}

extern "C" __global__ void random_numbers(const u32* key, u32* y, i64 at) {  // of philox.cuh, by their counter
  y[threadIdx.x] = philox(key, at).word[threadIdx.x];
}

extern "C" __global__ void said(const float* x) {
  if (threadIdx.x % 2) printf("x[%d] = %g\n", threadIdx.x, x[threadIdx.x]);
}
