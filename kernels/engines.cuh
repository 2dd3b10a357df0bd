// What multiplies tiles: MultiplyAdds, every thread by itself; TensorCores, a warp together. And how a tile lies in
// shared memory, so that either reads it without waiting. tile_loop.cuh has the words, and what comes before and after.
// A third engine, Hopper's, stands in warpgroups.cuh.
//
//     TileOf<SIDE, K_MAJOR>    how a tile lies
//     LAG                      so many stages are still being read when `multiply` has ended
//     arrived()                by each thread: its copies are there, and all will know after the next barrier
//     multiply(stage, f)       what stands in a stage; f() is done between
//     finish()                 the sums are complete, and no stage is read any more
//     lay_down(i, to)          BAND rows of the warp's sums, from row BAND i on, to rows of PITCH
#include "tensor_cores.cuh"

const int E = 16 / sizeof(T);   // elements of a chunk
const int PITCH = WN + 8;       // of sums on their way out: eight rows begin in different banks

template <class P> __device__ __forceinline__ P* moved(P* p, int bytes) { return (P*)((char*)p + bytes); }

// A tile of SIDE m (or n) by BK k in shared memory: rows of chunks. Chunk c of row r stands at c ^ turn(r), so that the
// eight chunks which are read together, one c of eight rows, lie in different banks. Eight rows further down the same
// turns come again, which makes the address there a sum, known to the compiler:
//
//             row 0    0 1 2 3    row 4    2 3 0 1          CHUNKS = 4: two rows fill the 32 banks once
//             row 1    0 1 2 3    row 5    2 3 0 1
//             row 2    1 0 3 2    row 6    3 2 1 0
//             row 3    1 0 3 2    row 7    3 2 1 0
template <int SIDE, bool K_MAJOR_, int K_TURN> struct Tile {  // K_TURN: of rows of k, as the engine reads them
  static const bool K_MAJOR = K_MAJOR_;
  static const int ROWS = K_MAJOR ? SIDE : BK, CHUNKS = (K_MAJOR ? BK : SIDE) / E;
  static const int PITCH = CHUNKS * 16, SIZE = ROWS * PITCH;  // bytes of a row, of all
  static const int TURNS = CHUNKS < 8 ? CHUNKS : 8;

  // `turned` by this: numbers of chunks differ by an exclusive or, and so do their addresses.
  __device__ static __forceinline__ int turn(int r) {
    return (K_MAJOR ? 1 : K_TURN) * r / (8 / TURNS) & (TURNS - 1);
  }
  __device__ static __forceinline__ int offset(int r, int c) { return r * PITCH + (c ^ turn(r)) * 16; }  // of chunk c
};

// Every thread by itself, RM x RN sums of its own. Lanes stand 8 x 4. Where neighbours lie along m, a lane takes them
// in groups of G, beside those of the next lane; where they lie along k, it takes single rows, and G of k at once.
// Either way lanes do not meet in a bank, and G RM RN multiply-adds need RM + RN reads, of G numbers each.
struct MultiplyAdds {
  static const int LAG = 0;  // what a thread has read, it has read when `multiply` ends
  template <int SIDE, bool K_MAJOR> using TileOf = Tile<SIDE, K_MAJOR, 0>;  // rows of k are read as they lie

  template <class TileA, class TileB> struct Engine {
    static const int G = E < 4 ? E : 4, RM = WM / 8, RN = WN / 4, BAND = 8 * G;
    typedef Pack<T, G> Group;
    T *a, *b;
    int wm, wn;
    A sums[RM][RN] = {};

    // a, b: where the first tiles stand; the warp's part of y begins at (wm, wn).
    __device__ __forceinline__ Engine(T* a, T* b, int wm, int wn) : a(a), b(b), wm(wm), wn(wn) {}

    // Which row (or column) of the warp's part is number i of a lane, one of LANES across.
    template <class Tile, int LANES> __device__ static __forceinline__ int number(int lane, int i) {
      return Tile::K_MAJOR ? LANES * i + lane : i / G * G * LANES + G * lane + i % G;
    }

    template <class Tile, int LANES, int COUNT>
    __device__ static __forceinline__ void read(A (&r)[G][COUNT], T* tile, int side, int lane, int k) {
#pragma unroll
      for (int i = 0; i < COUNT; i++) {  // K_MAJOR: a row and G of k; else G rows, in COUNT / G groups, for each of G k
        T* from;
        if constexpr (Tile::K_MAJOR) {
          int row = side + LANES * i / 8 * 8;
          from = moved(tile, Tile::offset(lane + LANES * i % 8, k / E) + row * Tile::PITCH) + k % E;
        } else {
          from = moved(tile, (k + i % G) * Tile::PITCH) + side + number<Tile, LANES>(lane, i / G * G);
        }
        Group group = *(const Group*)from;
#pragma unroll
        for (int e = 0; e < G; e++) {
          if constexpr (Tile::K_MAJOR) r[e][i] = wide(group.at[e]);
          else r[i % G][i / G * G + e] = wide(group.at[e]);
        }
      }
    }

    __device__ __forceinline__ void arrived() const {}

    // What stands `stage` bytes after the first tiles; `meanwhile` is done between reading and multiplying.
    template <class F> __device__ __forceinline__ void multiply(int stage, F meanwhile) {
      int lane = threadIdx.x % 32;
#pragma unroll
      for (int k = 0; k < BK; k += G) {
        A left[G][RM], right[G][RN];
        read<TileA, 8>(left, moved(a, stage), wm, lane / 4, k);
        read<TileB, 4>(right, moved(b, stage), wn, lane % 4, k);
        if (k == 0) meanwhile();
#pragma unroll
        for (int g = 0; g < G; g++) {
#pragma unroll
          for (int i = 0; i < RM * RN; i++) sums[i / RN][i % RN] += left[g][i / RN] * right[g][i % RN];
        }
      }
    }

    __device__ __forceinline__ void finish() const {}

    // The sums of rows BAND i and on of the warp's part, to rows of PITCH.
    __device__ __forceinline__ void lay_down(int i, A* to) const {
      int lane = threadIdx.x % 32;
#pragma unroll
      for (int g = 0; g < G; g++) {
#pragma unroll
        for (int j = 0; j < RN; j++)
          to[number<TileA, 8>(lane / 4, g) * PITCH + number<TileB, 4>(lane % 4, j)] = sums[G * i + g][j];
      }
    }
  };
};

// The tensor cores: a warp multiplies 16 x 32 bytes by 32 bytes x 8 with one instruction.
struct TensorCores {
  static const int LAG = 0;
  // Rows of k are read eight at once, or one by one and four at once.
  template <int SIDE, bool K_MAJOR> using TileOf = Tile<SIDE, K_MAJOR, sizeof(T) == 2 ? 1 : 2>;

  // Fragments of one operand: 16 of m (or n) and 32 bytes of k, four matrices of 8 x 16 bytes in the order that `mma`
  // wants its registers in. r[j] of a: rows 8 (j % 2), half j / 2 of k; of b: columns 8 (j / 2), half j % 2, so that
  // the two registers of each mma are neighbours: any other order costs two moves for every mma.
  template <class Tile, bool IS_B> struct Fragments {
    static const bool WORDS = !Tile::K_MAJOR && sizeof(T) == 4;  // ldmatrix cannot transpose elements of 4 bytes
    Shared start;  // where this lane reads the first

    __device__ __forceinline__ Fragments(T* tile, int side) {
      int lane = threadIdx.x % 32, j = lane / 8;
      int s = side + 8 * (IS_B ? j / 2 : j % 2), half = IS_B ? j % 2 : j / 2;
      if constexpr (Tile::K_MAJOR) start = shared_address(tile) + s * Tile::PITCH + Tile::offset(lane % 8, half);
      else if constexpr (WORDS)
        start = shared_address(tile) + Tile::offset(lane % 4, (side + lane / 4) / 4) + lane / 4 % 4 * 4;
      else start = shared_address(tile) + 8 * half * Tile::PITCH + Tile::offset(lane % 8, s / 8);
      keep(start);
    }

    // Fragment i along m (or n), number `step` along k. The chunks ahead differ by a few bits of their address.
    __device__ __forceinline__ void read(u32 (&r)[4], int stage, int i, int step) const {
      if constexpr (Tile::K_MAJOR) {
        ldmatrix<false>(r, turned(start, 2 * step) + (stage + 16 * i * Tile::PITCH));
      } else if constexpr (!WORDS) {
        ldmatrix<true>(r, turned(start, 2 * i) + (stage + 16 * step * Tile::PITCH));
      } else {
#pragma unroll
        for (int j = 0; j < 4; j++) {
          int half_side = IS_B ? j / 2 : j % 2, half = IS_B ? j % 2 : j / 2;
          r[j] = shared_word(turned(start, 4 * i + 2 * half_side ^ Tile::turn(4 * half)) +
                             (stage + (8 * step + 4 * half) * Tile::PITCH));
        }
      }
      if constexpr (sizeof(T) == 4) {  // TF32: rounded here, for the tensor core would cut the bits off
#pragma unroll
        for (int j = 0; j < 4; j++) r[j] = round_tf32(r[j]);
      }
    }
  };

  template <class TileA, class TileB> struct Engine {
    static const int ROWS = WM / 16, COLUMNS = WN / 16, STEPS = BK * sizeof(T) / 32, BAND = 16;
    Fragments<TileA, false> from_a;
    Fragments<TileB, true> from_b;
    float sums[ROWS][2 * COLUMNS][4] = {};

    __device__ __forceinline__ Engine(T* a, T* b, int wm, int wn) : from_a(a, wm), from_b(b, wn) {}

    __device__ __forceinline__ void arrived() const {}

    template <class F> __device__ __forceinline__ void multiply(int stage, F meanwhile) {
#pragma unroll
      for (int step = 0; step < STEPS; step++) {
        u32 left[ROWS][4], right[COLUMNS][4];
#pragma unroll
        for (int i = 0; i < ROWS; i++) from_a.read(left[i], stage, i, step);
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) from_b.read(right[j], stage, j, step);
        if (step == 0) meanwhile();
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
#pragma unroll
          for (int j = 0; j < 2 * COLUMNS; j++) mma(T(), sums[i][j], left[i], &right[j / 2][j % 2 * 2]);
        }
      }
    }

    __device__ __forceinline__ void finish() const {}

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
