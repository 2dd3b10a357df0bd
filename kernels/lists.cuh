// Kernels over lists of arrays: all parameters of a model in one launch, however many.
//
//     ws        w0: . . . . . . . . . .   w1: .   w2: . . . . . . .      arrays of any sizes
//     blocks        0       1       2         3       4       5          one for every CHUNK elements of an array
//
// A list lies in memory, as arguments have 4096 bytes in all: room for addresses and sizes of five lists of 64 arrays;
// a ResNet-50 has 161 parameters. (From CUDA 12.1 on they may have 32,764: 630 arrays, for every launch to carry.) The
// host sends the lists of a launch by one copy just before it, 16 bytes an array and 8 for each list that it is in,
// and waits for nothing (driver.py); a captured step sends them with its other numbers. Which array a block works on,
// its threads find together: each looks at one, and the one whose array it is tells the others.
#include "packs.cuh"

template <class E> struct List { const E* at; int size; };
template <class E> using Arrays = List<E*>;  // Arrays<const T> is only read; what is not there is an empty list

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

// f(ws[i][k], gs[i][k], ...) for each element of this block's part of the lists. All threads of the block must come
// here. sizes, first: of each array the elements, and the block that starts it.
template <class F, class... E>
__device__ __forceinline__ void each(const List<i64>& sizes, const List<i64>& first, F f, const Arrays<E>&... lists) {
  __shared__ int ours;
  for (int i = threadIdx.x; i < sizes.size; i += blockDim.x) {
    i64 start = (blockIdx.x - first.at[i]) * CHUNK;
    if (start >= 0 && start < sizes.at[i]) ours = i;  // of one array alone
  }
  __syncthreads();
  int i = ours;
  i64 start = (blockIdx.x - first.at[i]) * CHUNK, left = sizes.at[i] - start;
  along(left < CHUNK ? (int)left : CHUNK, f, Column<E>{lists.size ? lists.at[i] + start : nullptr}...);
}
