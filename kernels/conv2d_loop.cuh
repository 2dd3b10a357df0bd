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

const int FAR = -(1 << 29);  // a row outside of every image, with any tap

// The matrix of patches: rows for m, neighbours along k; TRANSPOSED: rows for k, neighbours along m.
template <bool TRANSPOSED, int V_> struct Patches {
  static const bool K_MAJOR = !TRANSPOSED;
  static const int V = V_;
  struct Fix { const T* p; int h, w; };
  struct Step { int p, h, w; };
  struct Part { i64 p; int h, w; };
  const T* p;
  int count;  // of m
  const Walk& walk;
  const Division &by_image, &by_row, &by_channels, &by_taps;  // places of an image, of a row of it; taps of a row

  __device__ __forceinline__ Part place(int i) const {
    int n = i / by_image, r = n * by_image.minus + i, y = r / by_row, x = y * by_row.minus + r;
    int h = y * walk.stride_h + walk.first_h, w = x * walk.stride_w + walk.first_w;
    return {(i64)((n * walk.H + h) * walk.W + w) * walk.pixel, h, w};
  }
  __device__ __forceinline__ Part tap(int i) const {
    int t = i / by_channels, c = t * by_channels.minus + i, a = t / by_taps, b = a * by_taps.minus + t;
    int h = a * walk.dilation_h, w = b * walk.dilation_w;
    return {(h * walk.W + w) * walk.pixel + c, h, w};
  }
  __device__ __forceinline__ Fix fix(int m) const {
    Part part = TRANSPOSED ? tap(m) : place(m);
    return {p + part.p, m < count ? part.h : FAR, part.w};
  }
  __device__ __forceinline__ Step step(int k) const {
    Part part = TRANSPOSED ? place(k) : tap(k);
    return {(int)part.p, part.h, part.w};
  }
  __device__ __forceinline__ Found at(const Fix& fix, const Step& step) const {
    return {fix.p + step.p, bool(((u32)(fix.h + step.h) < (u32)walk.H) & ((u32)(fix.w + step.w) < (u32)walk.W))};
  }
};

// E neighbours from column n on of a row of N; `whole`: none of them is outside, and they are aligned to 16 bytes.
template <class Y> struct __align__(16) Neighbours { Y at[E]; };

template <class Y> __device__ __forceinline__ Neighbours<Y> take(const Y* row, int n, int N, bool whole) {
  if (whole) return *(const Neighbours<Y>*)(row + n);
  Neighbours<Y> r = {};
#pragma unroll
  for (int e = 0; e < E; e++)
    if (n + e < N) r.at[e] = row[n + e];
  return r;
}
template <class Y> __device__ __forceinline__ void give(const Neighbours<Y>& r, Y* row, int n, int N, bool whole) {
  if (whole) {
    *(Neighbours<Y>*)(row + n) = r;
  } else {
#pragma unroll
    for (int e = 0; e < E; e++)
      if (n + e < N) row[n + e] = r.at[e];
  }
}

// E sums, rounded to T.
__device__ __forceinline__ Neighbours<T> rounded(const A (&sums)[E]) {
  Neighbours<T> r;
#pragma unroll
  for (int e = 0; e < E; e++) narrow(sums[e], r.at[e]);
  return r;
}
