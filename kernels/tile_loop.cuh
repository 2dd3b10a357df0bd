// One tile loop for every product: y[m, n] = sum over k of a(m, k) b(n, k). What a and b are, a *loader* says.
//
// TILING    a block computes BM x BN of y, a warp of it WM x WN. k advances by BK. STAGES tiles of a and of b stand in
//           shared memory in a ring: one is multiplied while STAGES - 1 are on their way.
//
//               memory  --copy_async-->  shared memory, STAGES tiles  --fragments-->  registers  --engine-->  sums
//
//           Compiled with -DBM=128 -DBN=128 -DBK=32 -DWM=64 -DWN=64 -DSTAGES=4 (the launcher chooses).
// COST      a k-tile brings (BM + BN) BK elements for 2 BM BN BK flop; a warp reads (WM + WN) BK of them again from
//           shared memory, for 2 WM WN BK.
// EDGES     the loader says which m (or n) are outside, the loop which k: zeros are copied. `out` guards m and n.
// SOURCE    NVIDIA/cutlass, "Efficient GEMM"; ldmatrix, mma, cp.async: PTX ISA 8.5, sections 9.7.9 and 9.7.14.
//
// A loader splits the address of an element into what depends on m (or n) and what depends on k, so that either is
// worked out once for many elements:
//     fix(i)            what depends on m = i (or n)          at(fix, step)     where the element lies, and if it does
//     step(k)           what depends on k
//     K_MAJOR           neighbours in memory are neighbours along k; else along m (or n)
//     V                 so many neighbours are aligned, and inside or outside together: 16, 8, 4 or 2 bytes
#include "tensor_cores.cuh"
#include "tile_order.cuh"

struct Found { const T* p; bool inside; };

// Element (i, k) of a matrix in memory, with any two strides.
template <bool K_MAJOR_, int V_> struct Matrix {
  static const bool K_MAJOR = K_MAJOR_;
  static const int V = V_;
  const T* p;
  i64 side, depth;  // strides of i and of k, in elements
  int count;        // of i
  __device__ __forceinline__ Found fix(int i) const { return {p + (!K_MAJOR && V > 1 ? i : i * side), i < count}; }
  __device__ __forceinline__ i64 step(int k) const { return K_MAJOR && V > 1 ? k : k * depth; }
  __device__ __forceinline__ Found at(Found row, i64 k) const { return {row.p + k, row.inside}; }
};

const int E = 16 / sizeof(T);                      // elements of a chunk: what one copy brings
const int THREADS = BM / WM * (BN / WN) * 32;      // __launch_bounds__(THREADS, 1): else ptxas aims at more, and spills
const int PITCH = WN + 8;                          // of sums on their way out: eight rows begin in different banks

typedef Pack<T> Chunk;

// A tile of SIDE m (or n) by BK k in shared memory: rows of chunks. Chunk c of row r stands at c ^ turn(r), so that the
// eight chunks which are read together, one c of eight rows, lie in different banks. Eight rows further down the same
// turns come again, which makes the address there a sum, known to the compiler:
//
//             row 0    0 1 2 3    row 4    2 3 0 1          CHUNKS = 4: two rows fill the 32 banks once
//             row 1    0 1 2 3    row 5    2 3 0 1
//             row 2    1 0 3 2    row 6    3 2 1 0
//             row 3    1 0 3 2    row 7    3 2 1 0
template <int SIDE, bool K_MAJOR_, int TURN> struct Tile {  // TURN: of rows of k, as the engine reads them
  static const bool K_MAJOR = K_MAJOR_;
  static const int ROWS = K_MAJOR ? SIDE : BK, CHUNKS = (K_MAJOR ? BK : SIDE) / E;
  static const int PITCH = CHUNKS * E, SIZE = ROWS * PITCH;
  static const int TURNS = CHUNKS < 8 ? CHUNKS : 8;

  __device__ static __forceinline__ T* chunk(T* tile, int r, int c) {
    int turn = (K_MAJOR ? 1 : TURN) * r / (8 / TURNS);
    return tile + r * PITCH + (c ^ (turn & (TURNS - 1))) * E;
  }
};

// Brings tiles of one operand to shared memory. A thread copies PER chunks: always the same column of chunks, DOWN rows
// apart, so that it keeps one `fix` a chunk (K_MAJOR) or one in all, and works out one `step` a tile or one a chunk.
template <class Tile, class Loader> struct Filler {
  static const int V = Loader::V, PER = Tile::ROWS * Tile::CHUNKS / THREADS, DOWN = THREADS / Tile::CHUNKS;
  static const int FIXED = Tile::K_MAJOR ? PER : 1;
  static_assert(PER * DOWN == Tile::ROWS, "a thread keeps its column of chunks");
  typedef decltype(((Loader*)0)->fix(0)) Fix;
  const Loader& loader;
  int first, row, column;
  Fix fix[FIXED];

  __device__ __forceinline__ Filler(const Loader& loader, int first)
      : loader(loader), first(first), row(threadIdx.x / Tile::CHUNKS), column(threadIdx.x % Tile::CHUNKS) {
    if constexpr (V == E) {
#pragma unroll
      for (int i = 0; i < FIXED; i++) fix[i] = loader.fix(first + (Tile::K_MAJOR ? row + i * DOWN : column * E));
    }
  }

  __device__ __forceinline__ void operator()(T* tile, int k0, int k_end) const {
    if constexpr (V == E) {
      int k = k0 + (Tile::K_MAJOR ? column * E : row);
      auto step = loader.step(k);
#pragma unroll
      for (int i = 0; i < PER; i++) {
        if (!Tile::K_MAJOR && i) step = loader.step(k += DOWN);
        Found found = loader.at(fix[Tile::K_MAJOR ? i : 0], step);
        copy_async<16>(at(tile, i), found.p, found.inside & (k < k_end));
      }
    } else {  // a chunk in pieces, each looked up by itself
#pragma unroll
      for (int i = 0; i < PER; i++) {
#pragma unroll
        for (int e = 0; e < E; e += V) {
          int r = row + i * DOWN, c = column * E + e, k = k0 + (Tile::K_MAJOR ? c : r);
          Found found = loader.at(loader.fix(first + (Tile::K_MAJOR ? r : c)), loader.step(k));
          piece(at(tile, i) + e, found.p, found.inside & (k < k_end));
        }
      }
    }
  }

  __device__ __forceinline__ T* at(T* tile, int i) const {
    const int AGAIN = DOWN < 8 ? 8 / DOWN : 1;  // the turns come again after so many
    return Tile::chunk(tile, row + i % AGAIN * DOWN, column) + i / AGAIN * AGAIN * DOWN * Tile::PITCH;
  }

  __device__ static __forceinline__ void piece(T* to, const T* from, bool inside) {
    if constexpr (V * sizeof(T) >= 4) copy_async<V * sizeof(T)>(to, from, inside);
    else if (inside) *to = *from;  // copy_async begins at 4 bytes
    else narrow(A(0), *to);
  }
};

// An engine multiplies what is in shared memory. The first: every thread by itself, RM x RN sums of its own. Lanes
// stand 8 x 4. Where neighbours lie along m, a lane takes them in groups of G, beside those of the next lane; where
// they lie along k, it takes single rows, and G of k at once. Either way lanes do not meet in a bank, and G RM RN
// multiply-adds need RM + RN reads, of G numbers each.
struct MultiplyAdds {
  static const int TURN = 0;  // rows of k are read as they lie

  template <class TileA, class TileB> struct Engine {
    static const int G = E < 4 ? E : 4, RM = WM / 8, RN = WN / 4, BAND = 8 * G;
    typedef Pack<T, G> Group;
    A sums[RM][RN] = {};

    // Number i of a lane, one of LANES, in the warp's part.
    template <class Tile, int LANES> __device__ static __forceinline__ int place(int lane, int i) {
      return Tile::K_MAJOR ? LANES * i + lane : i / G * G * LANES + G * lane + i % G;
    }

    template <class Tile, int LANES, int COUNT>
    __device__ static __forceinline__ void read(A (&r)[G][COUNT], T* tile, int side, int lane, int k) {
#pragma unroll
      for (int i = 0; i < COUNT; i++) {  // K_MAJOR: a row and G of k; else G rows, in COUNT / G groups, for each of G k
        T* from;
        if constexpr (Tile::K_MAJOR)
          from = Tile::chunk(tile, lane + LANES * i % 8, k / E) + (side + LANES * i / 8 * 8) * Tile::PITCH + k % E;
        else from = tile + (k + i % G) * Tile::PITCH + side + place<Tile, LANES>(lane, i / G * G);
        Group group = *(const Group*)from;
#pragma unroll
        for (int e = 0; e < G; e++) {
          if constexpr (Tile::K_MAJOR) r[e][i] = wide(group.at[e]);
          else r[i % G][i / G * G + e] = wide(group.at[e]);
        }
      }
    }

    __device__ __forceinline__ void multiply(T* a, T* b, int wm, int wn) {
      int lane = threadIdx.x % 32;
#pragma unroll
      for (int k = 0; k < BK; k += G) {
        A left[G][RM], right[G][RN];
        read<TileA, 8>(left, a, wm, lane / 4, k);
        read<TileB, 4>(right, b, wn, lane % 4, k);
#pragma unroll
        for (int g = 0; g < G; g++) {
#pragma unroll
          for (int i = 0; i < RM * RN; i++) sums[i / RN][i % RN] += left[g][i / RN] * right[g][i % RN];
        }
      }
    }

    // The sums of rows BAND i and on of the warp's part, to rows of PITCH.
    __device__ __forceinline__ void lay_down(int i, A* to) const {
      int lane = threadIdx.x % 32;
#pragma unroll
      for (int g = 0; g < G; g++) {
#pragma unroll
        for (int j = 0; j < RN; j++)
          to[place<TileA, 8>(lane / 4, g) * PITCH + place<TileB, 4>(lane % 4, j)] = sums[G * i + g][j];
      }
    }
  };
};

// The second: the tensor cores. A warp multiplies 16 x 32 bytes by 32 bytes x 8 with one instruction.
struct TensorCores {
  static const int TURN = sizeof(T) == 2 ? 1 : 2;  // rows of k are read eight at once, or one by one and four at once

  template <class TileA, class TileB> struct Engine {
    static const int ROWS = WM / 16, COLUMNS = WN / 16, STEPS = BK * sizeof(T) / 32, BAND = 16;
    float sums[ROWS][2 * COLUMNS][4] = {};

    // 16 of m (or n) from `side` on, and 32 bytes of k: four matrices of 8 x 16 bytes, in the order that `mma` wants
    // its registers in. r[j] of a: rows 8 (j % 2), half j / 2 of k; of b: columns 8 (j / 2), half j % 2, so that the two
    // registers of each mma are neighbours: any other order costs two moves for every mma.
    template <class Tile, bool IS_B>
    __device__ static __forceinline__ void fragment(u32 (&r)[4], T* tile, int side, int step) {
      int lane = threadIdx.x % 32, j = lane / 8;
      int s = side + 8 * (IS_B ? j / 2 : j % 2), half = IS_B ? j % 2 : j / 2;
      if constexpr (Tile::K_MAJOR) {
        ldmatrix<false>(r, Tile::chunk(tile, lane % 8, 2 * step + half) + s * Tile::PITCH);
      } else if constexpr (sizeof(T) == 2) {
        ldmatrix<true>(r, Tile::chunk(tile, lane % 8, s / 8) + (16 * step + 8 * half) * Tile::PITCH);
      } else {  // ldmatrix cannot transpose elements of 4 bytes
#pragma unroll
        for (int j = 0; j < 4; j++) {
          int s = side + lane / 4 + 8 * (IS_B ? j / 2 : j % 2), k = lane % 4 + 4 * (IS_B ? j % 2 : j / 2);
          r[j] = ((u32*)Tile::chunk(tile, k, s / 4))[8 * step * Tile::PITCH + s % 4];
        }
      }
      if constexpr (sizeof(T) == 4) {  // TF32: rounded here, for the tensor core would cut the bits off
#pragma unroll
        for (int j = 0; j < 4; j++) r[j] = round_tf32(r[j]);
      }
    }

    __device__ __forceinline__ void multiply(T* a, T* b, int wm, int wn) {
#pragma unroll 2  // all of 32 k of 16 bits; with the four of TF32 the compiler runs out of registers
      for (int step = 0; step < STEPS; step++) {
        u32 left[ROWS][4], right[COLUMNS][4];
#pragma unroll
        for (int i = 0; i < ROWS; i++) fragment<TileA, false>(left[i], a, wm + 16 * i, step);
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) fragment<TileB, true>(right[j], b, wn + 16 * j, step);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
#pragma unroll
          for (int j = 0; j < 2 * COLUMNS; j++) mma(T(), sums[i][j], left[i], &right[j / 2][j % 2 * 2]);
        }
      }
    }

    // The sums of 16 rows, from row 16 i of the warp's part on, to rows of PITCH.
    __device__ __forceinline__ void lay_down(int i, A* to) const {
      int lane = threadIdx.x % 32;
#pragma unroll
      for (int j = 0; j < 2 * COLUMNS; j++) {
#pragma unroll
        for (int h = 0; h < 2; h++)
          *(float2*)(to + (8 * h + lane / 4) * PITCH + 8 * j + lane % 4 * 2) = *(const float2*)&sums[i][j][2 * h];
      }
    }
  };
};

// From registers to `out`, by way of shared memory: a thread has sums of few neighbours, and memory wants whole lines.
// out.row(m) is what `out` wants to know of m; out.put(row, n, sums) takes E neighbours, 16 bytes if they are of type T.
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
  typedef Tile<BM, LoaderA::K_MAJOR, Engine::TURN> TileA;
  typedef Tile<BN, LoaderB::K_MAJOR, Engine::TURN> TileB;
  DYNAMIC_SHARED(T, shared);  // STAGES times a tile of a and a tile of b
  const int stage = TileA::SIZE + TileB::SIZE;
  int warp = threadIdx.x / 32, wm = warp / (BN / WN) * WM, wn = warp % (BN / WN) * WN;
  int tiles = (k_end - k_begin + BK - 1) / BK;
  Filler<TileA, LoaderA> fill_a(a, m0);
  Filler<TileB, LoaderB> fill_b(b, n0);
  typename Engine::template Engine<TileA, TileB> engine;
  auto fill = [&](int t, int s) {  // k-tile t to stage s: a group of copies, empty behind the last tile
    if (t < tiles) {
      fill_a(shared + s * stage, k_begin + t * BK, k_end);
      fill_b(shared + s * stage + TileA::SIZE, k_begin + t * BK, k_end);
    }
    copy_commit();  // empty or not, for copy_wait counts groups
  };

  for (int s = 0; s < STAGES - 1; s++) fill(s, s);
  for (int t = 0, here = 0, ahead = STAGES - 1; t < tiles; t++) {
    copy_wait<STAGES - 2>();  // my part of tile t is there,
    __syncthreads();          // everybody's is, and nobody reads tile t - 1 any more:
    fill(t + STAGES - 1, ahead);  // its stage is free
    engine.multiply(shared + here * stage, shared + here * stage + TileA::SIZE, wm, wn);
    here = here + 1 == STAGES ? 0 : here + 1;
    ahead = ahead + 1 == STAGES ? 0 : ahead + 1;
  }
  __syncthreads();  // nobody reads the last tile any more
  hand_out(engine, out, (A*)shared, m0 + wm, n0 + wn);
}
