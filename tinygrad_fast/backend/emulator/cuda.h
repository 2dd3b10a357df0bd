// CUDA's words for a C++ compiler. A kernel is compiled as it stands, with this in front of it.
#pragma once
#include <math.h>
#include <string.h>

#include <type_traits>
#include <utility>

#include "machine.h"

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
#ifdef __ELF__  // in a section of its own, so that the checker knows its extent
#define __shared__ static __attribute__((section("shared_memory"), aligned(16)))
#else
#define __shared__ static __attribute__((aligned(16)))
#endif
#define DYNAMIC_SHARED(type, name) type* name = (type*)emulator_shared

// Who is asking
#define threadIdx (emulator_thread->index)
#define blockIdx emulator_block
#define blockDim emulator_block_dim
#define gridDim emulator_grid_dim
#define warpSize 32

#define HERE {file, line}
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
inline void __syncwarp(unsigned mask = ~0u, FROM) { emulator_meet(SYNC, mask, nullptr, nullptr, 0, 0, HERE); }

template <class V> V emulator_shuffle(unsigned mask, V mine, int from, Where where) {
  V theirs;
  emulator_meet(SHUFFLE, mask, &mine, &theirs, from, sizeof(V), where);
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
  emulator_meet(VOTE, mask, &yes, &votes, 0, 0, HERE);
  return votes;
}
inline int __any_sync(unsigned mask, int yes, FROM) { return __ballot_sync(mask, yes, file, line) != 0; }
inline int __all_sync(unsigned mask, int yes, FROM) { return __ballot_sync(mask, !yes, file, line) == 0; }

// Atomic operations: one thread runs at a time, so each is an ordinary one. They return what was there.
// Inlined, so that a report finds the line in the kernel.
template <class V, class F> __forceinline__ V emulator_change(V* p, F f) {
  V old, now;
  emulator_atomic(p, sizeof(V));
  emulator_copy(&old, p, sizeof(V));
  now = f(old);
  emulator_copy(p, &now, sizeof(V));
  return old;
}
template <class V> using Same = typename std::common_type<V>::type;
template <class V> __forceinline__ V atomicAdd(V* p, Same<V> v) {
  return emulator_change(p, [=](V old) { return V(old + v); });
}
template <class V> __forceinline__ V atomicMax(V* p, Same<V> v) {
  return emulator_change(p, [=](V old) { return old < v ? v : old; });
}
template <class V> __forceinline__ V atomicMin(V* p, Same<V> v) {
  return emulator_change(p, [=](V old) { return v < old ? v : old; });
}
template <class V> __forceinline__ V atomicOr(V* p, Same<V> v) {
  return emulator_change(p, [=](V old) { return V(old | v); });
}
template <class V> __forceinline__ V atomicExch(V* p, Same<V> v) {
  return emulator_change(p, [=](V) { return v; });
}
template <class V> __forceinline__ V atomicCAS(V* p, Same<V> is, Same<V> v) {
  return emulator_change(p, [=](V old) { return old == is ? v : old; });
}

// Numbers
inline float __uint_as_float(unsigned u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}
inline unsigned __float_as_uint(float x) {
  unsigned u;
  memcpy(&u, &x, 4);
  return u;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int max(int a, int b) { return a > b ? a : b; }
inline int min(int a, int b) { return a < b ? a : b; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
template <class V> V __ldg(const V* p) { return *p; }

struct __align__(8) float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
struct __align__(16) uint4 { unsigned x, y, z, w; };

// The conversions that common.cuh writes in PTX: exact one way, to the nearest and ties to even the other.
inline float half_to_float(uint16_t h) {  // scaled by 2^112 the bits of a half mean the same as a float's
  float x = __uint_as_float((h & 0x7fffu) << 13) * 0x1p112f;
  if ((h & 0x7c00) == 0x7c00) x = __uint_as_float(0x7f800000u | (h & 0x3ffu) << 13);
  return h & 0x8000 ? -x : x;
}
inline uint16_t float_to_half(float x) {
  unsigned u = __float_as_uint(x), sign = u >> 16 & 0x8000;
  u &= 0x7fffffff;
  if (u > 0x7f800000) return 0x7fff;                     // NaN
  if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00); // 65520 and above
  if (u < 0x38800000)                                    // below 2^-14: the adder rounds at 2^-24
    return (uint16_t)(sign | (__float_as_uint(__uint_as_float(u) + 0.5f) - 0x3f000000));
  return (uint16_t)(sign | (u + 0xfff + (u >> 13 & 1) - 0x38000000) >> 13);
}
inline uint16_t float_to_bfloat(float x) {
  unsigned u = __float_as_uint(x);
  return (u & 0x7fffffff) > 0x7f800000 ? 0x7fff : (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

// EMULATE(name) exports a kernel with the arguments of cuLaunchKernel; its own signature says how to unpack them.
template <class... P, size_t... I>
void emulator_call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
  kernel(*(typename std::remove_const<P>::type*)arguments[I]...);
}
template <class... P> void emulator_call(void (*kernel)(P...), void** arguments) {
  emulator_call(kernel, arguments, std::index_sequence_for<P...>());
}
#define EMULATE(name)                                                                                      \
  extern "C" void emulate_##name(const unsigned* grid, const unsigned* block, int shared, void** arguments) { \
    emulator_launch([](void* p) { emulator_call(name, (void**)p); }, arguments, {grid[0], grid[1], grid[2]},  \
                    {block[0], block[1], block[2]}, shared);                                                  \
  }
