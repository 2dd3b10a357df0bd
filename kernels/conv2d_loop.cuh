// What convolutions on the tile loop share: a loader that reads patches of an image, and how a result is written.
//
// A matrix of patches has a row for each place of the window and a column for each of its taps and channels. Nobody
// writes it down: the loader says where an element would be read. What depends on the row is where the window stands,
// on the column how far into it the tap lies; their sum is the address, their sums in h and w tell whether it is inside:
//
//                 W
//           +-----------+          row m of it:     n, i, j  ->  pixel (h, w) = (i, j) stride + first, and its address
//         H |  . . .    |          column k of it:  a, b, c  ->  tap (a, b) dilation, and its distance in memory
//           |  . + .    |
//           |  . . .    |          Images lie N H W C: neighbouring channels are neighbours in memory.
//           +-----------+
#include "tile_loop.cuh"

struct Division { int by; u32 times, shift; };  // made by the launcher: a multiplication and a shift, n < 2^31

__device__ __forceinline__ int operator/(int n, const Division& d) { return __umulhi(2 * (u32)n, d.times) >> d.shift; }

// How a window walks: the tap (a, b) of the place (i, j) meets row i stride_h + first_h + a dilation_h, and likewise w.
struct Walk { int H, W, pixel, stride_h, stride_w, first_h, first_w, dilation_h, dilation_w; };  // pixel: its elements

const int FAR = -(1 << 29);  // a row outside of every image, with any tap

// Patches as rows, neighbours along k; TRANSPOSED as columns, neighbours along m.
template <bool TRANSPOSED, int V_> struct Patches {
  static const bool K_MAJOR = !TRANSPOSED;
  static const int V = V_;
  struct Pixel { const T* p; int h, w; };
  struct Tap { int p, h, w; };
  const T* p;
  int count;  // of rows, or of columns if transposed
  const Walk& walk;
  const Division &by_image, &by_row, &by_channels, &by_taps;  // places in an image, in a row; taps in a row of them

  __device__ __forceinline__ Pixel pixel(int m, bool inside) const {
    int n = m / by_image, r = m - n * by_image.by, i = r / by_row, j = r - i * by_row.by;
    int h = i * walk.stride_h + walk.first_h, w = j * walk.stride_w + walk.first_w;
    return {p + ((i64)(n * walk.H + h) * walk.W + w) * walk.pixel, inside ? h : FAR, w};
  }
  __device__ __forceinline__ Tap tap(int k, bool inside) const {
    int t = k / by_channels, a = t / by_taps, h = a * walk.dilation_h, w = (t - a * by_taps.by) * walk.dilation_w;
    return {(h * walk.W + w) * walk.pixel + k - t * by_channels.by, inside ? h : FAR, w};
  }
  __device__ __forceinline__ Found at(const Pixel& x, const Tap& t) const {
    return {x.p + t.p, bool(((u32)(x.h + t.h) < (u32)walk.H) & ((u32)(x.w + t.w) < (u32)walk.W))};
  }
  __device__ __forceinline__ Found at(const Tap& t, const Pixel& x) const { return at(x, t); }

  __device__ __forceinline__ auto fix(int i) const {
    if constexpr (TRANSPOSED) return tap(i, i < count);
    else return pixel(i, i < count);
  }
  __device__ __forceinline__ auto step(int k) const {  // the loop guards k
    if constexpr (TRANSPOSED) return pixel(k, true);
    else return tap(k, true);
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
