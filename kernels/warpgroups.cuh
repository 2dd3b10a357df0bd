// The engine that Hopper has (sm_90a): a warpgroup multiplies what stands in shared memory, and nobody reads it into
// registers. tile_loop.cuh has the words, hopper.cuh the instructions, engines.cuh the other engines.
//
// NEEDS     sm_90a with -DENGINE=Warpgroups
//
// The tiles come as they do for every engine, by copies of the threads: so a loader may find its elements wherever it
// likes, where the boxes of matmul_hopper.cu are parts of one array. What finds addresses does not hold up what
// multiplies: a warpgroup asks for its products and then, while the tensor cores are at them, for the tile STAGES - 2
// further on. It waits for products one stage late, so that there are always some; and as all must have read a stage
// before it is filled again, that takes one stage more than the other engines need (LAG).
#include "engines.cuh"
#include "hopper.cuh"

// A tile in rows of 128 bytes, swizzled, as a product wants it: boxes of 64 of what neighbours lie along, one on end
// behind another. Chunk c of row r stands at c ^ r % 8.
template <int SIDE, bool K_MAJOR_> struct Boxes {
  static const bool K_MAJOR = K_MAJOR_;
  static const int ROWS = K_MAJOR ? SIDE : BK, CHUNKS = (K_MAJOR ? BK : SIDE) / E;
  static const int PITCH = 128, SIZE = ROWS * CHUNKS * 16;
  static_assert(K_MAJOR ? CHUNKS == 8 : ROWS == 64 && CHUNKS % 8 == 0, "a row, or a box of rows, is 64 of k");

  __device__ static __forceinline__ int turn(int r) { return r % 8; }
  __device__ static __forceinline__ int offset(int r, int c) {
    return c / 8 * ROWS * PITCH + r * PITCH + (c % 8 ^ turn(r)) * 16;
  }
};

struct Warpgroups {
  static const int LAG = 1;
  template <int SIDE, bool K_MAJOR> using TileOf = Boxes<SIDE, K_MAJOR>;

  template <class TileA, class TileB> struct Engine {
    static const int BAND = 16;
    static_assert(TileA::SIZE == THREADS / 2 * 128 && TileB::SIZE == WN * 128, "a warp has 16 rows, and all columns");
    u64 a, b;
    float sums[BN / 2] = {};

    // By a shuffle the compiler knows that `wm` is one for all lanes, and keeps both numbers where products want them.
    __device__ __forceinline__ Engine(T* a, T* b, int wm, int)
        : a(described(moved(a, __shfl_sync(~0u, wm, 0) / 64 * BOX))), b(described(b)) {}

    __device__ __forceinline__ void arrived() const { proxy_fence(); }

    template <class F> __device__ __forceinline__ void multiply(int stage, F meanwhile) {
      // Places are told in units of 16 bytes: of the stage, and from 16 of k to the next
      const int A_NEXT = (TileA::K_MAJOR ? 32 : 16 * 128) / 16, B_NEXT = (TileB::K_MAJOR ? 32 : 16 * 128) / 16;
      u64 as = a + (u32)stage / 16, bs = b + (u32)stage / 16;
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < BK / 16; k++)
        wgmma<TileA::K_MAJOR, TileB::K_MAJOR>(T(), sums, as + k * A_NEXT, bs + k * B_NEXT, 1);
      wgmma_commit();
      meanwhile();
      wgmma_wait<1>();
    }

    __device__ __forceinline__ void finish() const { wgmma_wait<0>(); }

    // As TensorCores has it; a lane holds two neighbours of eight columns, and of the rows eight further down.
    __device__ __forceinline__ void lay_down(int, A* to) const {
      int lane = threadIdx.x % 32;
#pragma unroll
      for (int i = 0; i < BN / 2; i += 2)
        *(float2*)(to + (8 * (i / 2 % 2) + lane / 4) * PITCH + 8 * (i / 4) + lane % 4 * 2) = *(const float2*)&sums[i];
    }
  };
};
