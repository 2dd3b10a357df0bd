// One tile loop for every product: y[m, n] = sum over k of a(m, k) b(n, k). What a and b are, a *loader* says; what
// multiplies them, an *engine* (engines.cuh, warpgroups.cuh).
//
// TILING    a block computes BM x BN of y, a warp of it WM x WN. k advances by BK. STAGES tiles of a and of b stand in
//           shared memory in a ring: one is multiplied while STAGES - 1 are on their way (Warpgroups: STAGES - 2).
//
//               memory  --copy_async-->  shared memory, STAGES tiles  --fragments-->  registers  --engine-->  sums
//
//           Compiled with -DBM=128 -DBN=128 -DBK=32 -DWM=64 -DWN=64 -DSTAGES=4 (the launcher chooses).
// COST      a k-tile brings (BM + BN) BK elements for 2 BM BN BK flop; a warp reads (WM + WN) BK of them again from
//           shared memory, for 2 WM WN BK. A scheduler issues one instruction a clock, whatever it is for, so what
//           finds addresses competes with what multiplies: kernels/README.md counts both. A warp begins to multiply
//           as soon as a tile is there, and finds the addresses of the next one to come in between.
// EDGES     the loader says what is outside: zeros are copied. `out` guards m and n.
// SOURCE    NVIDIA/cutlass, "Efficient GEMM"; ldmatrix, mma, cp.async: PTX ISA 8.5, sections 9.7.9 and 9.7.14.
//
// WORDS     m, n, k      row and column of y, and what is summed over; m stands for n as well where b is meant
//           tile         BM x BN of y; or BM (BN) x BK of a (b), in shared memory
//           stage        room for a tile of a and one of b: a place in the ring
//           chunk        16 bytes, E elements: neighbours that stand together in shared memory
//           piece        V elements that one copy brings, of 16, 8 or 4 bytes: a chunk, or a part of one
//           K_MAJOR      neighbours in memory are neighbours along k; else along m. A tile lies in shared memory as its
//                        operand does in memory: its rows are m (K_MAJOR) or k
//           turn         by how much the chunks of a row change places, against bank conflicts (engines.cuh)
//           fragment     what one `mma` takes of an operand: 16 x 16 numbers of 16 bits, spread over the lanes
//           band         the rows of sums that a warp hands out at once
//
// A loader splits the address of an element into what depends on m and what depends on k, so that either is worked out
// once for many elements:
//     fix(i)               what depends on m = i
//     look(k0, end)        what a lane finds out about the tile from k0 on. What lies at `end` or beyond is outside
//     step(tile, r, more)  what depends on k = k0 + r + more; `more` is known to the compiler
//     at(fix, step)        where the element lies, and if it does
//     V                    so many neighbours are aligned, and inside or outside together
#include "engines.cuh"
#include "tile_order.cuh"

const int THREADS = BM / WM * (BN / WN) * 32;      // __launch_bounds__(THREADS, 1): else ptxas aims at more, and spills

typedef Pack<T> Chunk;

struct Found { const T* p; bool inside; };
struct Depths { int k0, end; };  // what there is to know about a tile where each step is found by itself

// Element (i, k) of a matrix in memory, with any two strides below 2^31 bytes. The pointer goes with i or with k,
// whichever a thread has fewer of: the other takes half the registers.
template <bool K_MAJOR_, int V_> struct Matrix {
  static const bool K_MAJOR = K_MAJOR_;
  static const int V = V_;
  const T* p;
  int side, depth, count;  // strides of i and of k, in elements; of i
  struct Step { const T* p; int k; bool inside; };

  __device__ __forceinline__ Step fix(int i) const { return {K_MAJOR ? p : along(p, i, side), i, i < count}; }
  __device__ __forceinline__ Depths look(int k0, int end) const { return {k0, end}; }
  __device__ __forceinline__ Step step(Depths tile, int r, int more) const {
    int k = tile.k0 + r + more;
    return {K_MAJOR ? along(p, k, depth) : p, k, k < tile.end};
  }
  __device__ __forceinline__ Found at(const Step& fix, const Step& step) const {
    return {K_MAJOR ? along(step.p, fix.k, side) : along(fix.p, step.k, depth), fix.inside && step.inside};
  }
};

// Brings tiles of one operand to shared memory. A thread copies PER chunks: always the same column of chunks, DOWN rows
// apart. Along the rows of the tile and along a row there is one `fix` and one `step`, or the other way round.
template <class Tile, class Loader> struct Filler {
  static const int V = Loader::V, PIECES = E / V;
  static const int PER = Tile::ROWS * Tile::CHUNKS / THREADS, DOWN = THREADS / Tile::CHUNKS;
  static const int FIXES = Tile::K_MAJOR ? PER : PIECES, STEPS = Tile::K_MAJOR ? PIECES : PER;
  static_assert(PER * DOWN == Tile::ROWS, "a thread keeps its column of chunks");
  typedef decltype(((Loader*)0)->fix(0)) Fix;
  const Loader& loader;
  Shared start;  // of this thread's first chunk, in the first stage
  int first_k;   // of it, in the tile
  Fix fix[FIXES];

  __device__ __forceinline__ Filler(const Loader& loader, int first, T* tile) : loader(loader) {
    int row = threadIdx.x / Tile::CHUNKS, column = threadIdx.x % Tile::CHUNKS;
    start = shared_address(tile) + Tile::offset(row, column);
    keep(start);
    first_k = Tile::K_MAJOR ? column * E : row;
#pragma unroll
    for (int i = 0; i < FIXES; i++) fix[i] = loader.fix(first + (Tile::K_MAJOR ? row + i * DOWN : column * E + i * V));
  }

  // The tile from k0 on, to `stage` bytes behind the first stage.
  __device__ __forceinline__ void operator()(int stage, int k0, int k_end) const {
    auto tile = loader.look(k0, k_end);
#pragma unroll
    for (int j = 0; j < STEPS; j++) {
      auto step = loader.step(tile, first_k, j * (Tile::K_MAJOR ? V : DOWN));
#pragma unroll
      for (int i = 0; i < FIXES; i++) {
        int down = (Tile::K_MAJOR ? i : j) * DOWN, piece = Tile::K_MAJOR ? j : i;
        Shared to = turned(start, Tile::turn(down)) + (stage + down * Tile::PITCH + piece * V * (int)sizeof(T));
        Found found = loader.at(fix[i], step);
        copy_async<V * sizeof(T)>(to, found.p, found.inside);
      }
    }
  }
};

// From registers to `out`, by way of shared memory: a thread has sums of few neighbours, and memory wants whole lines.
// out.row(m) is what `out` wants to know of m; out.put(row, n, sums) takes E neighbours, 16 bytes if they are T.
template <class Engine, class Out>
__device__ __forceinline__ void hand_out(const Engine& engine, const Out& out, A* staged, int m0, int n0) {
  const int BAND = Engine::BAND, ACROSS = WN / E, DOWN = 32 / ACROSS;  // lanes across a row, rows at once
  int lane = threadIdx.x % 32, n = lane % ACROSS * E;
  staged += threadIdx.x / 32 * BAND * PITCH;  // each warp by itself
#pragma unroll
  for (int i = 0; i < WM / BAND; i++) {
    engine.lay_down(i, staged);
    __syncwarp();
#pragma unroll
    for (int m = lane / ACROSS; m < BAND; m += DOWN) {
      A sums[E];
#pragma unroll
      for (int e = 0; e < E; e++) sums[e] = staged[m * PITCH + n + e];
      out.put(out.row(m0 + i * BAND + m), n0 + n, sums);
    }
    __syncwarp();
  }
}

// The tile of y from (m0, n0) on, summed over k_begin <= k < k_end.
template <class Engine, class LoaderA, class LoaderB, class Out>
__device__ __forceinline__ void tile_loop(const LoaderA& a, const LoaderB& b, const Out& out, int m0, int n0,
                                          int k_begin, int k_end) {
  typedef typename Engine::template TileOf<BM, LoaderA::K_MAJOR> TileA;
  typedef typename Engine::template TileOf<BN, LoaderB::K_MAJOR> TileB;
  DYNAMIC_SHARED(T, shared);  // STAGES times a tile of a and a tile of b
  const int SIZE = TileA::SIZE + TileB::SIZE, LAST = (STAGES - 1) * SIZE;  // of a stage, and where the last begins
  const int AHEAD = STAGES - 1 - Engine::LAG;                              // tiles that are on their way
  static_assert(AHEAD > 0, "a stage to multiply, LAG that still may be, and one to fill");
  T *shared_a = shared, *shared_b = moved(shared, TileA::SIZE);
  int warp = threadIdx.x / 32, wm = warp / (BN / WN) * WM, wn = warp % (BN / WN) * WN;
  Filler<TileA, LoaderA> fill_a(a, m0, shared_a);
  Filler<TileB, LoaderB> fill_b(b, n0, shared_b);
  typename Engine::template Engine<TileA, TileB> engine(shared_a, shared_b, wm, wn);
  auto fill = [&](int k0, int stage) {  // a group of copies; behind the last tile, of zeros: copy_wait counts groups
    fill_a(stage, k0, k_end);
    fill_b(stage, k0, k_end);
    copy_commit();
  };

  auto next = [&](int stage) { return stage == LAST ? 0 : stage + SIZE; };

  int ahead = k_begin;
  for (int s = 0; s < AHEAD; s++, ahead += BK) fill(ahead, s * SIZE);
  for (int k = k_begin, here = 0, free = AHEAD * SIZE; k < k_end; k += BK, ahead += BK) {
    copy_wait<AHEAD - 1>();  // my part of the tile from k on is there,
    engine.arrived();
    __syncthreads();  // everybody's is, and nobody reads the tile LAG + 1 before it any more: its stage is free
    engine.multiply(here, [&] { fill(ahead, free); });
    free = Engine::LAG ? next(free) : here;
    here = next(here);
  }
  engine.finish();
  copy_wait<0>();   // nothing is on its way any more,
  __syncthreads();  // and nobody reads the last tile
  hand_out(engine, out, (A*)shared, m0 + wm, n0 + wn);
}
