// Images as pixels: (N, H, W, C) in order C, whose threads own neighbouring channels.
//
// -DPACKED=1: a thread owns V channels, 16 bytes that it reads and writes at once; C must be a multiple of V, and
// arrays begin at a multiple of 16 bytes. -DPACKED=0: one channel. Images that lie N C H W are N C images of one
// channel: then neighbouring threads own neighbouring pixels.
//
// A thread keeps its place for image after image (gridDim.y images are in flight): the divisions that find it are made
// once. An image has fewer than 2^31 elements: the launcher refuses others.
#include "common.cuh"

const int V = PACKED ? 16 / sizeof(T) : 1;

template <class E> __device__ __forceinline__ Pack<E, V> load(const E* p) { return *(const Pack<E, V>*)p; }

template <class E> __device__ __forceinline__ void store(Pack<E, V> pack, E* p) { *(Pack<E, V>*)p = pack; }

// V numbers, rounded.
template <class E> __device__ __forceinline__ void store(const A (&x)[V], E* p) {
  Pack<E, V> pack;
#pragma unroll
  for (int v = 0; v < V; v++) narrow(x[v], pack.at[v]);
  store(pack, p);
}

__device__ __forceinline__ i64 pixel(int n, int h, int w, int H, int W, int C) {
  return (((i64)n * H + h) * W + w) * C;
}

// What a thread writes: row, column, first channel. Threads count the packs of an image as they lie in memory; those
// beyond the last get a row beyond the last.
struct Place { int row, column, channel; };

__device__ __forceinline__ Place place(int W, int C) {
  unsigned e = blockIdx.x * blockDim.x + threadIdx.x, packs = C / V;
  return {(int)(e / packs / W), (int)(e / packs % W), (int)(e % packs * V)};
}

const int THREADS = 256;  // of a block, at most

// A window may be shared by blockDim.y x blockDim.z threads, each of which found one S for each of its V channels.
// Those of the upper half tell the lower half, until the first knows all: true for that one.
template <class S, class F>
__device__ __forceinline__ bool put_together(S (&s)[V], S (&shared)[V][THREADS], F both) {
  int mine = threadIdx.z * blockDim.y + threadIdx.y, me = mine * blockDim.x + threadIdx.x;
  for (int half = blockDim.y * blockDim.z / 2; half; half /= 2) {
    __syncthreads();
#pragma unroll
    for (int v = 0; v < V; v++) shared[v][me] = s[v];
    __syncthreads();
    if (mine < half)
#pragma unroll
      for (int v = 0; v < V; v++) s[v] = both(s[v], shared[v][me + half * blockDim.x]);
  }
  return mine == 0;
}
