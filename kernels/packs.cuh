// 16 bytes at a time, V numbers, where the length of a line or its place in memory may not allow it.
#include "common.cuh"

const int V = 16 / sizeof(T);

// V neighbours, the first `inside` of them there and 0 after: in one piece where all are there and aligned.
__device__ __forceinline__ Pack<T> load(const T* p, int inside) {
  if (inside == V && (size_t)p % 16 == 0) return *(const Pack<T>*)p;
  Pack<T> pack;
#pragma unroll
  for (int j = 0; j < V; j++) {
    if (j < inside) pack.at[j] = p[j];
    else narrow(A(0), pack.at[j]);
  }
  return pack;
}

__device__ __forceinline__ void store(const Pack<T>& pack, T* p, int inside) {
  if (inside == V && (size_t)p % 16 == 0) {
    *(Pack<T>*)p = pack;
    return;
  }
#pragma unroll
  for (int j = 0; j < V; j++)
    if (j < inside) p[j] = pack.at[j];
}
