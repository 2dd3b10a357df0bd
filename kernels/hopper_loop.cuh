// What the rungs for Hopper share: a ring of tiles in shared memory, the products of what is in it, and the sums' way
// out. Who fills the ring, and who must have read a stage before it is filled again, a rung says: matmul_hopper.cu,
// matmul_cluster.cu.
//
// Compiled with -DBM=128 -DBN=256 -DSTAGES=4, and -DXK=1 where neighbours of x lie along k, -DWK of w.
#include "hopper.cuh"
#include "matmul.cuh"
#include "tile_order.cuh"

const int GROUPS = BM / 64, WARPS = 4 * GROUPS, THREADS = 32 * WARPS + 32;  // the last warp copies
const int BK = 128 / sizeof(T);
const int X_TILE = BM / 64 * BOX, STAGE = X_TILE + BN / 64 * BOX;  // bytes
const int BAND = 32, PITCH = BAND + 8;                             // columns of sums on their way out

// A tile of x and one of w in each stage. full: they have landed; empty: so many warps have done with them.
struct Ring {
  unsigned char* tiles;
  float* staged;
  u64 *full, *empty;
};

__device__ __forceinline__ Ring open_ring(unsigned char* shared, int readers) {
  Ring ring;
  ring.tiles = shared;
  ring.staged = (float*)(shared + STAGES * STAGE);
  ring.full = (u64*)(ring.staged + WARPS * 16 * PITCH);
  ring.empty = ring.full + STAGES;
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      barrier_init(ring.full + s, 1);
      barrier_init(ring.empty + s, readers);
    }
    barrier_fence();
  }
  return ring;
}

// Where in the ring: the stage, and the parity of its present phase.
struct Turn {
  int stage = 0, parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == STAGES) stage = 0, parity ^= 1;
  }
};

// A warpgroup's part of a tile of y: 64 rows, a stage of k after another. done(stage): this warp has read it.
template <class Done>
__device__ __forceinline__ void multiply(float (&sums)[BN / 2], const Ring& ring, Turn& turn, int steps, Done done) {
  const int X_NEXT = (XK ? 32 : 16 * 128) / 16, W_NEXT = (WK ? 32 : 16 * 128) / 16;  // 16 of k further
  Turn before;
  for (int t = 0; t < steps; t++, turn.next()) {
    const unsigned char* here = ring.tiles + turn.stage * STAGE;
    u64 xs = described(here + threadIdx.x / 128 * BOX), ws = described(here + X_TILE);
    barrier_wait(ring.full + turn.stage, turn.parity);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < BK / 16; k++)
      wgmma<XK, WK>(T(), sums, xs + k * X_NEXT, ws + k * W_NEXT, t + k);
    wgmma_commit();
    wgmma_wait<1>();
    if (t) done(before.stage);
    before = turn;
  }
  wgmma_wait<0>();
  done(before.stage);
}

// A warp's 16 rows, from row m and column n of y on, in order through shared memory: BAND columns at once.
__device__ __forceinline__ void hand_out(const float (&sums)[BN / 2], const Ring& ring, const Rows& out, int m, int n) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float* mine = ring.staged + warp * 16 * PITCH;
  const int ACROSS = BAND / Rows::E;
#pragma unroll
  for (int band = 0; band < BN; band += BAND) {
#pragma unroll
    for (int i = 0; i < BAND / 2; i += 2)
      *(float2*)(mine + (lane / 4 + 8 * (i / 2 % 2)) * PITCH + 8 * (i / 4) + lane % 4 * 2) =
          *(const float2*)&sums[band / 2 + i];
    __syncwarp();
#pragma unroll
    for (int r = lane / ACROSS; r < 16; r += 32 / ACROSS) {
      float row[Rows::E];
#pragma unroll
      for (int e = 0; e < Rows::E; e++) row[e] = mine[r * PITCH + lane % ACROSS * Rows::E + e];
      out.put(out.row(m + r), n + band + lane % ACROSS * Rows::E, row);
    }
    __syncwarp();
  }
}
