// Kernels over lists of arrays: 64 parameters of a model in one launch.
//
//     ws        w0: . . . . . . . . . .   w1: .   w2: . . . . . . .      arrays of any sizes
//     blocks        0       1       2         3       4       5          one for every CHUNK elements of an array
//
// The addresses and sizes of a list are arguments of the kernel. They need no memory on the GPU, no copy to it and
// nothing that keeps them alive, and a captured graph holds them with its launch. Arguments have 4096 bytes in all:
// room for five lists of 64 arrays, told apart by a search of six steps instead of a table with a line for every block.
#include "packs.cuh"

template <class E> struct Arrays { E* at[64]; };  // Arrays<const T> is only read; what is not there is null

struct Parts { long long size[64]; int first[64], count; };  // of each array the elements, and the block that starts it

// Elements of an array on their way through a thread, as numbers to compute with. Those of `const T*` stay as they are.
template <class E> struct Column {
  E* p;
  A x[V];

  __device__ __forceinline__ bool aligned() { return (unsigned long long)p % 16 == 0; }
  __device__ __forceinline__ void read(int k) {
    if (p) x[0] = wide(p[k]);
  }
  __device__ __forceinline__ void read_pack(int k) {
    if (!p) return;
    Pack<T> pack = ((const Pack<T>*)p)[k];
#pragma unroll
    for (int j = 0; j < V; j++) x[j] = wide(pack.at[j]);
  }
  __device__ __forceinline__ void write(int k) { put(p, k); }
  __device__ __forceinline__ void write_pack(int k) { put_pack(p, k); }

 private:
  __device__ __forceinline__ void put(const T*, int) {}
  __device__ __forceinline__ void put_pack(const T*, int) {}
  __device__ __forceinline__ void put(T* p, int k) {
    if (p) narrow(x[0], p[k]);
  }
  __device__ __forceinline__ void put_pack(T* p, int k) {
    if (!p) return;
    Pack<T> pack;
#pragma unroll
    for (int j = 0; j < V; j++) narrow(x[j], pack.at[j]);
    ((Pack<T>*)p)[k] = pack;
  }
};

// f(x0, x1, ...) for each of n elements of some arrays, V at a time where all lie on 16 bytes.
template <class F, class... C> __device__ __forceinline__ void along(int n, F f, C... columns) {
  int packs = (columns.aligned() && ...) ? n / V : 0;
  for (int k = threadIdx.x; k < packs; k += blockDim.x) {
    (columns.read_pack(k), ...);
#pragma unroll
    for (int j = 0; j < V; j++) f(columns.x[j]...);
    (columns.write_pack(k), ...);
  }
  for (int k = packs * V + threadIdx.x; k < n; k += blockDim.x) {
    (columns.read(k), ...);
    f(columns.x[0]...);
    (columns.write(k), ...);
  }
}

// f(ws[i][k], gs[i][k], ...) for each element of this block's part of the lists.
template <class F, class... E>
__device__ __forceinline__ void each(const Parts& parts, F f, const Arrays<E>&... lists) {
  int i = 0, block = blockIdx.x;
#pragma unroll
  for (int step = 32; step; step /= 2)  // the last array that starts at this block or before it
    if (i + step < parts.count && parts.first[i + step] <= block) i += step;
  i64 start = (i64)(block - parts.first[i]) * CHUNK, left = parts.size[i] - start;
  along(left < CHUNK ? (int)left : CHUNK, f, Column<E>{lists.at[i] ? lists.at[i] + start : nullptr}...);
}
