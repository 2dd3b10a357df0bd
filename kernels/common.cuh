// Words that every kernel uses: what arrays hold, and what is computed with. Pasted in before a kernel is compiled.
//
// A kernel is compiled once for each dtype, -DDTYPE=float16: its arrays hold T, its sums are of type A.
//     float64 -> double      float32, float16, bfloat16 -> float
// The 16-bit floats are bits in memory and nothing more: `wide` reads one, `narrow` rounds to the nearest, ties to
// even. No CUDA header is needed. Under the emulator, what is marked PTX comes from backend/emulator/cuda.h.

typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;

#ifndef INDEX
#define INDEX u32
#endif
typedef INDEX Index;  // what numbers are counted by; with -DINDEX=i64 there may be 2^31 and more

typedef float float32;
typedef double float64;
struct float16 { u16 bits; };   // sign 1, exponent 5, fraction 10
struct bfloat16 { u16 bits; };  // the upper half of a float32: 1, 8, 7

template <class T> struct Arithmetic { typedef float type; };
template <> struct Arithmetic<float64> { typedef double type; };

typedef DTYPE T;
typedef Arithmetic<T>::type A;

#ifndef EMULATED  // PTX

__device__ __forceinline__ float half_to_float(u16 h) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
  return x;
}

__device__ __forceinline__ u16 float_to_half(float x) {
  u16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}

__device__ __forceinline__ u16 float_to_bfloat(float x) {
#if __CUDA_ARCH__ >= 800
  u16 h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
#else  // add just under half of the last place kept, and one more if that place is odd; NaN stays NaN
  u32 u = __float_as_uint(x);
  return (u & 0x7fffffff) > 0x7f800000 ? 0x7fff : (u16)((u + 0x7fff + (u >> 16 & 1)) >> 16);
#endif
}

#endif

__device__ __forceinline__ A infinity() { return __uint_as_float(0x7f800000); }

__device__ __forceinline__ float64 wide(float64 x) { return x; }
__device__ __forceinline__ float wide(float32 x) { return x; }
__device__ __forceinline__ float wide(float16 x) { return half_to_float(x.bits); }
__device__ __forceinline__ float wide(bfloat16 x) { return __uint_as_float((u32)x.bits << 16); }

__device__ __forceinline__ void narrow(float64 x, float64& y) { y = x; }
__device__ __forceinline__ void narrow(float x, float32& y) { y = x; }
__device__ __forceinline__ void narrow(float x, float16& y) { y.bits = float_to_half(x); }
__device__ __forceinline__ void narrow(float x, bfloat16& y) { y.bits = float_to_bfloat(x); }

// N neighbours, read or written in one piece where they begin at a multiple of their size: 16 bytes at the most.
template <class E, int N = 16 / sizeof(E)> struct __align__(N * sizeof(E) < 16 ? N * sizeof(E) : 16) Pack { E at[N]; };
