// CUDA's words for a C++ compiler. A kernel is compiled as it stands, with this in front of it.
#pragma once
#include <math.h>
#include <stdio.h>  // printf

#include <type_traits>
#include <utility>

#include "machine.h"
#include "numbers.h"

#define EMULATED 1

// Where things live, and what a function is
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((aligned(16)))  // elf.py finds them
#define DYNAMIC_SHARED(type, name) type* name = (type*)emulator_thread->block->shared

// Who is asking
#define threadIdx (emulator_thread->index)
#define blockIdx (emulator_thread->block->index)
#define blockDim emulator_block_dim
#define gridDim emulator_grid_dim
#define warpSize 32

#define HERE {file, line, __func__}
#define FROM const char *file = __builtin_FILE(), int line = __builtin_LINE()

// The block
inline void __syncthreads(FROM) { emulator_barrier(HERE); }
inline void __threadfence() {}
inline void __threadfence_block() {}

// The warp
inline int emulator_lane() {
  dim3 i = threadIdx, n = blockDim;
  return (i.x + n.x * (i.y + n.y * i.z)) % 32;
}
inline void __syncwarp(unsigned mask = ~0u, FROM) { emulator_meet(emulator::SYNC, mask, nullptr, nullptr, 0, 0, HERE); }

template <class V> V emulator_shuffle(unsigned mask, V mine, int from, emulator::Where where) {
  V theirs;
  emulator_meet(emulator::SHUFFLE, mask, &mine, &theirs, from, sizeof(V), where);
  return theirs;
}
// Lanes form groups of `width`; one that would look past its group reads itself.
template <class V> V __shfl_sync(unsigned mask, V v, int source, int width = 32, FROM) {
  int lane = emulator_lane();
  return emulator_shuffle(mask, v, lane / width * width + source % width, HERE);
}
template <class V> V __shfl_xor_sync(unsigned mask, V v, int bits, int width = 32, FROM) {
  int lane = emulator_lane(), source = lane ^ bits;
  return emulator_shuffle(mask, v, source / width > lane / width ? lane : source, HERE);
}
template <class V> V __shfl_down_sync(unsigned mask, V v, unsigned by, int width = 32, FROM) {
  int lane = emulator_lane(), source = lane + (int)by;
  return emulator_shuffle(mask, v, source / width > lane / width ? lane : source, HERE);
}
template <class V> V __shfl_up_sync(unsigned mask, V v, unsigned by, int width = 32, FROM) {
  int lane = emulator_lane(), source = lane - (int)by;
  return emulator_shuffle(mask, v, source < lane / width * width ? lane : source, HERE);
}
inline unsigned __ballot_sync(unsigned mask, int yes, FROM) {
  unsigned votes;
  emulator_meet(emulator::VOTE, mask, &yes, &votes, 0, 0, HERE);
  return votes;
}
inline int __any_sync(unsigned mask, int yes, FROM) { return __ballot_sync(mask, yes, file, line) != 0; }
inline int __all_sync(unsigned mask, int yes, FROM) { return __ballot_sync(mask, !yes, file, line) == 0; }

// Atomic operations: one thread runs at a time, so each is an ordinary one. They return what was there.
// Inlined, so that a report finds the line in the kernel.
template <class V, class F> __forceinline__ V emulator_change(V* p, F f) {
  V old, now;
  emulator_atomic(p, sizeof(V));
  emulator_move(&old, p, sizeof(V));
  now = f(old);
  emulator_move(p, &now, sizeof(V));
  return old;
}
namespace emulator {
template <class V> using Same = typename std::common_type<V>::type;
}
template <class V> __forceinline__ V atomicAdd(V* p, emulator::Same<V> v) {
  return emulator_change(p, [=](V old) { return V(old + v); });
}
template <class V> __forceinline__ V atomicMax(V* p, emulator::Same<V> v) {
  return emulator_change(p, [=](V old) { return old < v ? v : old; });
}
template <class V> __forceinline__ V atomicMin(V* p, emulator::Same<V> v) {
  return emulator_change(p, [=](V old) { return v < old ? v : old; });
}
template <class V> __forceinline__ V atomicOr(V* p, emulator::Same<V> v) {
  return emulator_change(p, [=](V old) { return V(old | v); });
}
template <class V> __forceinline__ V atomicExch(V* p, emulator::Same<V> v) {
  return emulator_change(p, [=](V) { return v; });
}
template <class V> __forceinline__ V atomicCAS(V* p, emulator::Same<V> is, emulator::Same<V> v) {
  return emulator_change(p, [=](V old) { return old == is ? v : old; });
}

// Numbers
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int max(int a, int b) { return a > b ? a : b; }
inline int min(int a, int b) { return a < b ? a : b; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
template <class V> V __ldg(const V* p) { return *p; }

struct __align__(8) float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
struct __align__(16) uint4 { unsigned x, y, z, w; };

// The words of tensor_cores.cuh: see there
typedef char* Shared;
inline Shared shared_address(void* p) { return (Shared)p; }
inline Shared turned(Shared at, int chunks) { return (Shared)((uintptr_t)at ^ 16 * chunks); }
inline void keep(Shared) {}
__forceinline__ unsigned shared_word(Shared at) { return *(unsigned*)at; }
template <class T> const T* along(const T* p, int n, int stride = 1) {
  return (const T*)((uintptr_t)p + (int64_t)n * stride * sizeof(T));
}

template <int BYTES> __forceinline__ void copy_async(Shared to, const void* from, bool inside, FROM) {
  emulator_copy(to, from, BYTES, inside, HERE);
}
inline void copy_commit() { emulator_commit(); }
template <int N> inline void copy_wait() { emulator_wait(N); }

template <bool TRANS> __forceinline__ void ldmatrix(unsigned (&r)[4], Shared row, FROM) {
  emulator_read(row, 16);
  emulator_meet(TRANS ? emulator::LDMATRIX_TRANS : emulator::LDMATRIX, ~0u, row, r, 0, 0, HERE);
}

#define MMA(name, meeting)                                                                       \
  inline void name(float (&d)[4], const unsigned (&a)[4], const unsigned* b, FROM) {             \
    unsigned given[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};                                    \
    emulator_meet(meeting, ~0u, given, d, 0, 0, HERE);                                           \
  }
MMA(mma_f16, emulator::MMA_F16)
MMA(mma_bf16, emulator::MMA_BF16)
MMA(mma_tf32, emulator::MMA_TF32)
inline void mma_f16_k8(float (&d)[4], unsigned a0, unsigned a1, unsigned b, FROM) {
  unsigned given[6] = {a0, a1, 0, 0, b, 0};
  emulator_meet(emulator::MMA_F16, ~0u, given, d, 0, 0, HERE);
}
#undef MMA

// The words of hopper.cuh: see there
#define __grid_constant__
#define __cluster_dims__(...)  // source.py reads it

inline unsigned shared_address(const void* p) {
  return (unsigned)((const unsigned char*)p - emulator_thread->block->shared);
}

__forceinline__ void barrier_init(void* barrier, int arrivals, FROM) {
  emulator_write(barrier, 8);
  emulator_barrier_init(barrier, arrivals, HERE);
}
inline void barrier_fence() { emulator_barrier_fence(); }
__forceinline__ void barrier_expect(void* barrier, int bytes, FROM) {
  emulator_read(barrier, 8);
  emulator_barrier_arrive(barrier, bytes, HERE);
}
__forceinline__ void barrier_arrive(void* barrier, FROM) {
  emulator_read(barrier, 8);
  emulator_barrier_arrive(barrier, 0, HERE);
}
__forceinline__ void barrier_wait(void* barrier, int parity, FROM) {
  emulator_read(barrier, 8);
  emulator_barrier_wait(barrier, parity, HERE);
}
inline void copy_box(void* to, const void* map, void* barrier, int i, int j, int b, FROM) {
  emulator_box(to, map, barrier, i, j, b, 1u << emulator_thread->block->rank, HERE);
}

inline int cluster_rank() { return emulator_thread->block->rank; }
inline void cluster_arrive(FROM) {
  __syncwarp(~0u, file, line);
  emulator_cluster_arrive(HERE);
}
inline void cluster_wait(FROM) {
  __syncwarp(~0u, file, line);
  emulator_cluster_wait(HERE);
}
__forceinline__ void barrier_arrive_at(void* barrier, int rank, FROM) { emulator_remote_arrive(barrier, rank, HERE); }
inline void copy_box_to(unsigned blocks, void* to, const void* map, void* barrier, int i, int j, int b, FROM) {
  emulator_box(to, map, barrier, i, j, b, blocks, HERE);
}

#define WGMMA(name, meeting)                                                                                \
  template <bool X_K, bool W_K, int S>                                                                      \
  inline void name(float (&d)[S], unsigned long long a, unsigned long long b, int more, FROM) {             \
    emulator::Operands product = {a, b, 2 * S, X_K, W_K, more != 0};                                        \
    emulator_meet(meeting, ~0u, &product, d, 0, 0, HERE);                                                   \
  }
WGMMA(wgmma_f16, emulator::WGMMA_F16)
WGMMA(wgmma_bf16, emulator::WGMMA_BF16)
#undef WGMMA
__forceinline__ void proxy_fence() { emulator_proxy_fence(); }
inline void wgmma_fence(FROM) { emulator_meet(emulator::WGMMA_FENCE, ~0u, nullptr, nullptr, 0, 0, HERE); }
inline void wgmma_commit(FROM) { emulator_meet(emulator::WGMMA_COMMIT, ~0u, nullptr, nullptr, 0, 0, HERE); }
template <int N> inline void wgmma_wait(FROM) { emulator_meet(emulator::WGMMA_WAIT, ~0u, nullptr, nullptr, N, 0, HERE); }

// EMULATE(name) exports a kernel with the arguments of cuLaunchKernel; its own signature says how to unpack them.
template <class... P, size_t... I>
void emulator_call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
  kernel(*(typename std::remove_const<P>::type*)arguments[I]...);
}
template <class... P> void emulator_call(void (*kernel)(P...), void** arguments) {
  emulator_call(kernel, arguments, std::index_sequence_for<P...>());
}
// cluster: how many of its blocks run together.
#define EMULATE(name, cluster)                                                                                       \
  extern "C" __attribute__((visibility("default"))) void emulate_##name(const unsigned* grid, const unsigned* block, \
                                                                        int shared, void** arguments) {              \
    emulator_launch([](void* p) { emulator_call(name, (void**)p); }, arguments, {grid[0], grid[1], grid[2]},         \
                    {block[0], block[1], block[2]}, shared, cluster);                                                \
    fflush(stdout);                                                                                                  \
  }
