// What convolutions on the tile loop share: a loader that reads patches of an image, and how a result is written.
//
// A matrix of patches has a row for each place of the window and a column for each of its taps and channels. Nobody
// writes it down: the loader says where an element would be read. What depends on the row is where the window stands,
// on the column how far into it the tap lies: their sum is the address, and tells whether it is inside.
//
//                 W
//           +-----------+          row m of it:     n, i, j  ->  pixel (h, w) = (i, j) stride + first, and its address
//         H |  . . .    |          column k of it:  a, b, c  ->  tap (a, b) dilation, and its distance in memory
//           |  . + .    |
//           |  . . .    |          Images lie N H W C: neighbouring channels are neighbours in memory.
//           +-----------+
#include "conv2d.cuh"
#include "tile_loop.cuh"
#include "warpgroups.cuh"

const int FAR = -(1 << 29);  // a row outside of every image, with any tap

// The matrix of patches: rows for m, neighbours along k; TRANSPOSED: rows for k, neighbours along m. An element is a
// tap (and channel) from the corner of a window. A tap carries the image's address, for a thread holds fewer of them.
template <bool TRANSPOSED, int V_> struct Patches {
  static const bool K_MAJOR = !TRANSPOSED;
  static const int V = V_;
  struct Corner { int offset, h, w; };
  struct Tap { const T* p; int h, w; };
  struct Corners { Corner mine[(BK + 31) / 32]; };
  static_assert(!TRANSPOSED || 32 % (THREADS / (BM / E)) == 0, "rows that a warp copies at once are one lane's turn");
  const T* p;
  int count;  // of m
  const Walk& walk;
  const Division &by_image, &by_row, &by_channels, &by_taps;  // places of an image, of a row of it; taps of a row

  __device__ __forceinline__ Corner corner(int i, bool inside) const {
    int n = i / by_image, r = n * by_image.minus + i, y = r / by_row, x = y * by_row.minus + r;
    int h = y * walk.stride_h + walk.first_h, w = x * walk.stride_w + walk.first_w;
    return {((n * walk.H + h) * walk.W + w) * walk.pixel, inside ? h : FAR, w};
  }
  __device__ __forceinline__ Tap tap(int i, bool inside) const {
    int t = i / by_channels, c = t * by_channels.minus + i, a = t / by_taps, b = a * by_taps.minus + t;
    int h = a * walk.dilation_h, w = b * walk.dilation_w;
    return {along(p, (h * walk.W + w) * walk.pixel + c), inside ? h : FAR, w};
  }
  __device__ __forceinline__ auto fix(int m) const {
    if constexpr (TRANSPOSED) return tap(m, m < count);
    else return corner(m, m < count);
  }

  __device__ __forceinline__ auto look(int k0, int end) const {
    if constexpr (TRANSPOSED) return corners(k0, end);
    else return Depths{k0, end};
  }
  __device__ __forceinline__ Tap step(Depths tile, int r, int more) const {
    int k = tile.k0 + r + more;
    return tap(k, k < tile.end);
  }

  // TRANSPOSED: a row of k is a corner, with two divisions. Each lane finds one of 32, and tells the others.
  __device__ __forceinline__ Corners corners(int k0, int end) const {
    Corners tile;
#pragma unroll
    for (int i = 0; i < BK; i += 32) {
      int k = k0 + i + threadIdx.x % 32;
      tile.mine[i / 32] = corner(k, k < end);
    }
    return tile;
  }
  __device__ __forceinline__ Corner step(const Corners& tile, int r, int more) const {
    const Corner& mine = tile.mine[more / 32];
    int lane = r + more;
    return {__shfl_sync(~0u, mine.offset, lane), __shfl_sync(~0u, mine.h, lane), __shfl_sync(~0u, mine.w, lane)};
  }

  __device__ __forceinline__ Found at(const Corner& corner, const Tap& tap) const {
    return {along(tap.p, corner.offset),
            bool(((u32)(corner.h + tap.h) < (u32)walk.H) & ((u32)(corner.w + tap.w) < (u32)walk.W))};
  }
  __device__ __forceinline__ Found at(const Tap& tap, const Corner& corner) const { return at(corner, tap); }
};

// E neighbours from column n on of a row of N; `whole`: none of them is outside, and they are aligned to 16 bytes.
template <class Y> __device__ __forceinline__ Pack<Y, E> take(const Y* row, int n, int N, bool whole) {
  if (whole) return *(const Pack<Y, E>*)(row + n);
  Pack<Y, E> r = {};
#pragma unroll
  for (int e = 0; e < E; e++)
    if (n + e < N) r.at[e] = row[n + e];
  return r;
}
template <class Y> __device__ __forceinline__ void give(const Pack<Y, E>& r, Y* row, int n, int N, bool whole) {
  if (whole) {
    *(Pack<Y, E>*)(row + n) = r;
  } else {
#pragma unroll
    for (int e = 0; e < E; e++)
      if (n + e < N) row[n + e] = r.at[e];
  }
}

// E sums, rounded to T.
__device__ __forceinline__ Chunk rounded(const A (&sums)[E]) {
  Chunk r;
#pragma unroll
  for (int e = 0; e < E; e++) narrow(sums[e], r.at[e]);
  return r;
}
