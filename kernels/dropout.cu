// Uniform random numbers, and dropout, which makes its own: they are never written to memory.
//
// MATH      u[i] in [0, 1) for the i-th element, a function of (key, i);   kept = u >= p;   y = kept ? scale x : 0
// BACKWARD  dx = kept ? scale g : 0
// TILING    four numbers come at a time, for elements 4 b .. 4 b + 3, counted in order C. Images that lie channels-last
//           are counted by channels and read by pixels, so a thread takes four pixels of one channel, and the channel
//           of the next thread is the next one:
//
//               memory (N, P, C)    c0 c1 c2 c3 ..      thread (c, k) of image n: those of the elements 4 b .. 4 b + 3
//               pixel 0              |  |  |  |         that lie in its plane of P pixels, which begins at (n C + c) P;
//               pixel 1              |  |  |  |         b = (n C + c) P / 4 + k
//               pixel 2              |  |  |  |
//               pixel 3              v  v  v  v
//
//           Any other array is one plane, N = C = 1: its threads read and write four elements at once.
// COST      dropout: 9 bytes an element (float32), some 30 integer operations; bound by memory, nearly by those.
// EDGES     any N, C, P. Where P is no multiple of 4, numbers at the border of two planes are made twice.
// MEASURED  not yet on a GPU. Expected: 0.8 of the memory's bandwidth for float32, 0.6 for 16 bits, whose elements come
//           faster than their numbers.
// SOURCE    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
// SPEC      CPU.uniform (tinygrad_fast/backend/cpu.py), Composed.dropout and dropout_back (composed.py).
#include "philox.cuh"

// Four elements that lie side by side.
template <class E> using Four = Pack<E, 4>;

template <class E> __device__ __forceinline__ bool aligned(const E* p) { return (size_t)p % alignof(Four<E>) == 0; }

// Four numbers of a plane: number j is for the element at + j C of memory, where first <= j < last.
struct Quarter {
  i64 block, at;
  int first, last;
  __device__ __forceinline__ bool whole() const { return first == 0 && last == 4; }
};

__device__ __forceinline__ Quarter quarter(int n, int c, i64 k, int C, i64 P) {
  i64 plane = ((i64)n * C + c) * P, block = plane / 4 + k, p = 4 * block - plane;
  return {block, (n * P + p) * C + c, p < 0 ? (int)-p : 0, P - p < 4 ? (int)(P - p) : 4};
}

// What a thread does: `work` on quarter k of the planes (n, c) that are its own.
template <class Work> __device__ __forceinline__ void every_quarter(int N, int C, i64 P, Work work) {
  i64 k = blockIdx.x * (i64)blockDim.y + threadIdx.y;
  for (int n = blockIdx.y; n < N; n += gridDim.y)
    for (int c = threadIdx.x; c < C; c += blockDim.x) {
      Quarter q = quarter(n, c, k, C, P);
      if (q.last > q.first) work(q);
    }
}

extern "C" __global__ void uniform(const u32* __restrict__ key, float* __restrict__ y, int N, int C, i64 P) {
  every_quarter(N, C, P, [&](Quarter q) {
    Words u = philox(key, q.block);
    if (C == 1 && q.whole() && aligned(y + q.at)) {
      *(Four<float>*)(y + q.at) = {uniform_of(u.word[0]), uniform_of(u.word[1]), uniform_of(u.word[2]),
                                   uniform_of(u.word[3])};
      return;
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
      if (j >= q.first && j < q.last) y[q.at + (i64)j * C] = uniform_of(u.word[j]);
  });
}

__device__ __forceinline__ void drop(T x, bool kept, A scale, T& y) { narrow(kept ? wide(x) * scale : A(0), y); }

extern "C" __global__ void dropout(
    const T* __restrict__ x, const u32* __restrict__ key, T* __restrict__ y, bool* __restrict__ kept,
    float p, A scale, int N, int C, i64 P) {
  every_quarter(N, C, P, [&](Quarter q) {
    Words u = philox(key, q.block);
    if (C == 1 && q.whole() && aligned(x + q.at) && aligned(y + q.at) && aligned(kept + q.at)) {
      Four<T> from = *(const Four<T>*)(x + q.at), to;
      Four<bool> mask;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        mask.at[j] = uniform_of(u.word[j]) >= p;
        drop(from.at[j], mask.at[j], scale, to.at[j]);
      }
      *(Four<T>*)(y + q.at) = to;
      *(Four<bool>*)(kept + q.at) = mask;
      return;
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
      if (j >= q.first && j < q.last) {
        i64 i = q.at + (i64)j * C;
        kept[i] = uniform_of(u.word[j]) >= p;
        drop(x[i], kept[i], scale, y[i]);
      }
  });
}

// A thread for four elements, in the order of memory.
extern "C" __global__ void dropout_back(
    const T* __restrict__ g, const bool* __restrict__ kept, T* __restrict__ dx, A scale, i64 n) {
  i64 i = 4 * (blockIdx.x * (i64)blockDim.x + threadIdx.x);
  if (i + 4 <= n && aligned(g + i) && aligned(kept + i) && aligned(dx + i)) {
    Four<T> from = *(const Four<T>*)(g + i), to;
    Four<bool> mask = *(const Four<bool>*)(kept + i);
#pragma unroll
    for (int j = 0; j < 4; j++) drop(from.at[j], mask.at[j], scale, to.at[j]);
    *(Four<T>*)(dx + i) = to;
  } else {
    for (i64 last = i + 4 < n ? i + 4 : n; i < last; i++) drop(g[i], kept[i], scale, dx[i]);
  }
}
