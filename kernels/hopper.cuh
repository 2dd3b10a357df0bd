// Words that Hopper has (sm_90a) and neither its forerunners nor its successors understand: products of a warpgroup,
// four neighbouring warps, straight from shared memory; and what brings that memory its contents.
//
// Each is one PTX instruction behind a function. The emulator has a second definition of those marked PTX, under the
// same name (backend/emulator/cuda.h); tests/kernels/hopper_words.cu holds both to NVIDIA's manual.
//
// THE COPY. One thread asks for a box: 64 rows of 128 bytes out of an array that a tensor map describes. Nobody's
//     registers are touched and nobody waits. What lies outside the array arrives as zeros.
// THE BARRIER. Who wants what is copied waits for a phase of a barrier, eight bytes in shared memory. A phase ends when
//     as many threads have arrived as the barrier was made for, and as many bytes as were announced. Then the next one
//     begins. Phases are told apart by their parity: 0, 1, 0, 1, ...
// THE CLUSTER. Two blocks that run at the same time, neighbours in the grid, each with its own shared memory. A place
//     in one is a place in the other, too: a copy may go to the same place in both, read once and counted by the
//     barrier at the same place in each; and who has done with such a copy arrives at both barriers. Nobody may reach
//     into a block that has not begun or has ended: all threads of a cluster wait for each other, first thing and last.
// THE SWIZZLE. Rows of 128 bytes would begin in one bank, all of them, and columns of 16 bytes be read eight times
//     slower than rows. So chunk c of row r stands at c ^ r % 8: bits 4-6 of an address, changed by bits 7-9.
//
//             row 0    0 1 2 3 4 5 6 7
//             row 1    1 0 3 2 5 4 7 6          The copy puts it so, and the product finds it so: neither sees the
//             row 2    2 3 0 1 6 7 4 5          other's addresses, only that a box begins at a multiple of 1024.
//             ...
// THE PRODUCT. sums (64 x N) += a (64 x 16) b (16 x N), by 128 threads. Operands are named by a number that says where
//     their chunks lie, not read into registers. It is done when it has been waited for, and no sooner: until then the
//     sums are nobody's to look at, and a and b nobody's to change. What a thread has written or copied there itself it
//     must show first: products look at shared memory by a way of their own, and may find what was there before.
#include "tensor_cores.cuh"

typedef unsigned long long u64;

const int BOX = 64 * 128;  // bytes

struct __align__(64) TensorMap { u64 opaque[16]; };  // what cuTensorMapEncodeTiled fills in, for no one else to read

// The 64 x 16 of a product that begin at `at`, in a box or in several of them on end, as the product wants to be told:
//     bits 0-13     where they begin
//     bits 16-29    if neighbours lie along m (or n): from 64 of them to the next 64, a box
//     bits 32-45    from eight rows to the next eight: of m (or n) if neighbours lie along k, else of k
//     bits 62-63    1: swizzled in rows of 128 bytes                             (bytes in units of 16)
__device__ __forceinline__ u64 described(const void* at) {
  const u64 FORM = (u64)(BOX >> 4) << 16 | (u64)(8 * 128 >> 4) << 32 | (u64)1 << 62;
  return FORM | (shared_address(at) >> 4 & 0x3fff);
}

#ifndef EMULATED  // PTX

// A barrier for so many arrivals a phase. The fence, by the thread that made it, shows it to the copies; a
// __syncthreads to the threads.
__device__ __forceinline__ void barrier_init(u64* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void barrier_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(u64* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// Arrive, and announce so many bytes more for this phase.
__device__ __forceinline__ void barrier_expect(u64* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}

// Until a phase of this parity has ended. The phase before the first counts as one of parity 1.
__device__ __forceinline__ void barrier_wait(u64* barrier, int parity) {
  u32 ended;
  do {
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(ended) : "r"(shared_address(barrier)), "r"(parity) : "memory");
  } while (!ended);
}

// The box of `map` that begins at element i of row j of matrix b: to shared memory, its bytes counted by a barrier.
__device__ __forceinline__ void copy_box(void* to, const TensorMap* map, u64* barrier, int i, int j, int b) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
               " [%0], [%1, {%3, %4, %5}], [%2];"
               ::"r"(shared_address(to)), "l"(map), "r"(shared_address(barrier)), "r"(i), "r"(j), "r"(b) : "memory");
}

// Which block of its cluster this is; and until all threads of the cluster have arrived, what they did before done. By
// whole warps.
__device__ __forceinline__ int cluster_rank() {
  u32 rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return (int)rank;
}

__device__ __forceinline__ void cluster_arrive() {
  __syncwarp();
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

__device__ __forceinline__ void cluster_wait() {
  __syncwarp();
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Arrive at the barrier at the same place in a block of the cluster: to tell that it has been read here, not what has
// been written (`.release.cluster` would do that, and make each arrival wait for the memory of the whole GPU).
__device__ __forceinline__ void barrier_arrive_at(u64* barrier, int rank) {
  asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
               "mbarrier.arrive.shared::cluster.b64 _, [there];\n}"
               ::"r"(shared_address(barrier)), "r"(rank) : "memory");
}

// copy_box to the same place in several blocks of the cluster, a bit for each.
__device__ __forceinline__ void copy_box_to(u16 blocks, void* to, const TensorMap* map, u64* barrier, int i, int j,
                                            int b) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster"
               " [%0], [%1, {%3, %4, %5}], [%2], %6;"
               ::"r"(shared_address(to)), "l"(map), "r"(shared_address(barrier)), "r"(i), "r"(j), "r"(b), "h"(blocks)
               : "memory");
}

// What this thread has written to shared memory, and its copies that it has waited for: shown to products.
__device__ __forceinline__ void proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Before the first product: what was done to the registers of its sums is done.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// The products since the last commit are a group. Wait until all groups but the last N are done.
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

template <int N> __device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

// d += a b (more), or d = a b. X_K, W_K: neighbours of a, of b, lie along k. Who holds what, with g = lane / 4,
// t = lane % 4 and the warp's number in its warpgroup:
//     d[i]  row 16 warp + g + 8 (i / 2 % 2), column 8 (i / 4) + 2t + i % 2
#define D8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), \
              "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define D32(i) D8(i), D8(i + 8), D8(i + 16), D8(i + 24)
#define D64(i) D32(i), D32(i + 32)
#define TEN(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define SIXTY TEN() TEN(1) TEN(2) TEN(3) TEN(4) TEN(5)
#define WGMMA(word, type, N, names, sums, a_, b_, more_, x_, w_)                                                       \
  template <bool X_K, bool W_K> __device__ __forceinline__ void word(float (&d)[N / 2], u64 a, u64 b, int more) {     \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " more_ ", 0;\n"                                                   \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type                                      \
                 " {" names "}, " a_ ", " b_ ", p, 1, 1, " x_ ", " w_ ";\n}"                                          \
                 : sums : "l"(a), "l"(b), "r"(more), "n"(!X_K), "n"(!W_K));                                           \
  }
#define OF_64(word, type)                                                                                             \
  WGMMA(word, type, 64, TEN() TEN(1) TEN(2) "%30, %31", D32(0), "%32", "%33", "%34", "%35", "%36")
#define OF_128(word, type)                                                                                            \
  WGMMA(word, type, 128, SIXTY "%60, %61, %62, %63", D64(0), "%64", "%65", "%66", "%67", "%68")
#define BOTH D64(0), D64(64)
#define OF_256(word, type)                                                                                            \
  WGMMA(word, type, 256, SIXTY TEN(6) TEN(7) TEN(8) TEN(9) TEN(10) TEN(11)                                            \
        "%120, %121, %122, %123, %124, %125, %126, %127", BOTH, "%128", "%129", "%130", "%131", "%132")
OF_64(wgmma_f16, "f16")
OF_64(wgmma_bf16, "bf16")
OF_128(wgmma_f16, "f16")
OF_128(wgmma_bf16, "bf16")
OF_256(wgmma_f16, "f16")
OF_256(wgmma_bf16, "bf16")

#endif

template <bool X_K, bool W_K, int S>
__device__ __forceinline__ void wgmma(float16, float (&d)[S], u64 a, u64 b, int more) {
  wgmma_f16<X_K, W_K>(d, a, b, more);
}

template <bool X_K, bool W_K, int S>
__device__ __forceinline__ void wgmma(bfloat16, float (&d)[S], u64 a, u64 b, int more) {
  wgmma_bf16<X_K, W_K>(d, a, b, more);
}
