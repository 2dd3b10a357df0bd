// Words of the tensor cores, and of the copies that feed them.
//
// Each is one PTX instruction behind a function. The emulator has a second definition of those marked PTX, under the
// same name (backend/emulator/cuda.h); tests/kernels/words.cu holds that to NVIDIA's manual.
#include "common.cuh"

#ifndef EMULATED  // PTX

#define DYNAMIC_SHARED(type, name)                                                                                    \
  extern __shared__ __align__(1024) unsigned char name##_[];                                                           \
  type* name = (type*)name##_

// A place in shared memory, in bytes: half as many bits as a pointer, to add to and to keep.
typedef u32 Shared;

__device__ __forceinline__ Shared shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ Shared turned(Shared at, int chunks) { return at ^ 16 * chunks; }  // see engines.cuh

__device__ __forceinline__ u32 shared_word(Shared at) {
  u32 word;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(word) : "r"(at) : "memory");
  return word;
}

// Keeps it in a register: the compiler forgets what it is made of, which it would work out anew in each turn of a loop.
__device__ __forceinline__ void keep(Shared& at) { asm volatile("" : "+r"(at)); }

// p + n stride, in 32 bits as far as possible: + would first widen n, and then add in four instructions, not two.
__device__ __forceinline__ const T* along(const T* p, int n, int stride = 1) {
  const T* q;
  asm("mad.wide.s32 %0, %1, %2, %3;" : "=l"(q) : "r"(n), "r"(stride * (int)sizeof(T)), "l"(p));
  return q;
}

// Copy BYTES = 16, 8, 4 or 2 from global to shared memory, past the registers; zeros where it is not `inside`. The
// thread may go on at once: the copy has happened only after a copy_wait. Before sm_80 it happens here, and 2 bytes do
// always: they have no other way than through a register.
template <int BYTES> __device__ __forceinline__ void copy_async(Shared to, const void* from, bool inside) {
  if constexpr (BYTES == 2) {
    u16 r = inside ? __ldg((const u16*)from) : 0;
    asm volatile("st.shared.u16 [%0], %1;" ::"r"(to), "h"(r) : "memory");
    return;
  }
#if __CUDA_ARCH__ >= 800
  int size = inside ? BYTES : 0;  // the rest is filled with zeros
  if constexpr (BYTES == 16)      // .cg: not through L1, which would only be swept out
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;"
                 ::"r"(to), "l"(from), "r"(size) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                 ::"r"(to), "l"(from), "n"(BYTES), "r"(size) : "memory");
#else
  if constexpr (BYTES == 16) {
    uint4 r = inside ? __ldg((const uint4*)from) : make_uint4(0, 0, 0, 0);
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};"
                 ::"r"(to), "r"(r.x), "r"(r.y), "r"(r.z), "r"(r.w) : "memory");
  } else if constexpr (BYTES == 8) {
    uint2 r = inside ? __ldg((const uint2*)from) : make_uint2(0, 0);
    asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(to), "r"(r.x), "r"(r.y) : "memory");
  } else {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(inside ? __ldg((const u32*)from) : 0) : "memory");
  }
#endif
}

// The copies since the last commit are a group. Wait until all groups but the last N have happened: to be seen by
// other threads they need a barrier as well.
__device__ __forceinline__ void copy_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int N> __device__ __forceinline__ void copy_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

// Four 8 x 8 matrices of 16-bit elements, by a warp. Lane i says where row i % 8 of matrix i / 8 lies: 16 bytes. It
// gets, in r[j], two elements of matrix j, with g = i / 4 and t = i % 4: (g, 2t) and (g, 2t+1); TRANS (2t, g) and
// (2t+1, g).
template <bool TRANS> __device__ __forceinline__ void ldmatrix(u32 (&r)[4], Shared row) {
  if constexpr (TRANS)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
}

// d += a b by a warp: d 16 x 8 floats, a 16 x K, b K x 8. Who holds what, with g = lane / 4 and t = lane % 4:
//     d[i]  row g + 8 (i / 2), column 2t + i % 2
//     a[i]  row g + 8 (i % 2), k = 2t, 2t+1 + 8 (i / 2)     tf32: k = t + 4 (i / 2)
//     b[i]  column g,          k = 2t, 2t+1 + 8 i           tf32: k = t + 4 i
#define MMA(name, shape)                                                                                              \
  __device__ __forceinline__ void name(float (&d)[4], const u32 (&a)[4], const u32* b) {                              \
    asm("mma.sync.aligned." shape " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                  \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                              \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                                          \
  }
#if __CUDA_ARCH__ >= 800
MMA(mma_f16, "m16n8k16.row.col.f32.f16.f16.f32")
MMA(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")

__device__ __forceinline__ u32 round_tf32(u32 x) {  // a float's 23 bits of fraction to 10, ties away from zero
  u32 y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(__uint_as_float(x)));
  return y;
}
#endif

__device__ __forceinline__ void mma_f16_k8(float (&d)[4], u32 a0, u32 a1, u32 b) {  // 8 of 16 k: all that sm_75 has
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a0), "r"(a1), "r"(b));
}

#endif

#if defined(EMULATED) || __CUDA_ARCH__ >= 800
__device__ __forceinline__ void mma(float16, float (&d)[4], const u32 (&a)[4], const u32* b) { mma_f16(d, a, b); }
__device__ __forceinline__ void mma(bfloat16, float (&d)[4], const u32 (&a)[4], const u32* b) { mma_bf16(d, a, b); }
__device__ __forceinline__ void mma(float32, float (&d)[4], const u32 (&a)[4], const u32* b) { mma_tf32(d, a, b); }
#else
__device__ __forceinline__ void mma(float16, float (&d)[4], const u32 (&a)[4], const u32* b) {
  mma_f16_k8(d, a[0], a[1], b[0]);
  mma_f16_k8(d, a[2], a[3], b[1]);
}
__device__ __forceinline__ u32 round_tf32(u32 x) { return x; }  // never used: no TF32 there
#endif
