// Softmax, log-softmax and their gradients, along one axis.
//
// MATH      softmax      y[c] = exp(x[c]) / sum of exp(x)        log_softmax  y[c] = x[c] - log(sum of exp(x))
//           for every position p of an array that has no gaps in memory: its slower axes, the C classes `inner` numbers
//           apart, its faster axes.
// BACKWARD  softmax_back     dx[c] = y[c] (g[c] - sum of g y)     log_softmax_back  dx[c] = g[c] - exp(y[c]) sum of g
//           logsumexp_back   dx[c] = p[c] (g / sum of p), p[c] = exp(x[c] - y): y and g one number a position
// TILING    the lanes of a position walk along its classes twice: they find a sum together, then each writes its part.
//
//               inner = 1    p |--- lanes along c --->|        inner > 1              |-- 32 positions -->|
//                            p |--------------------->|                   lanes along |                   |
//                                                                                   c v                   |
//
//           Either way neighbouring threads read neighbouring numbers (lanes.cuh).
// COST      C numbers read and C written a position; back 2 C read. The second walk reads from a cache: the rows of a
//           multiprocessor's blocks are in the first up to some 8,000 float32 classes, in the second up to 50,000.
//           Bound by memory: 8192 rows of 1000, float32: 66 MB.
//           Instructions a number on sm_90, both walks, float32 / 16 bits: softmax 46 / 46, log_softmax 38 / 38, their
//           gradients 26 / 31 and 29 / 34, logsumexp_back 36 / 40. 32 registers in float32, 42 with 16 bits.
// EDGES     any C; any order of the axes in memory, which results share. A row of -inf, and one with NaN or +inf, gives
//           NaN throughout, as the definition does.
// MEASURED  not yet on a GPU. Expected on an H100 (3.35 TB/s; 2.9e13 instructions of a thread a second, so 35 in the
//           time of 4 bytes), as shares of the memory's bandwidth:
//               500 to 50,000 classes, or images     float32 0.8; 16 bits: forward 0.7, bound by instructions, back 0.8
//               100,000 classes                      0.55: the second walk reads from memory
//               10 classes, a million rows           0.3: 550 instructions of four lanes each for 80 bytes
//               10 classes, 512 rows                 3 us, those of a launch
// SOURCE    as online_softmax.cuh.
// SPEC      Composed.softmax, log_softmax and their _back, Composed.logsumexp_back (tinygrad_fast/backend/composed.py).
#include "online_softmax.cuh"
#include "positions.cuh"

// Arrays without gaps: class c of a thread's position lies at(c).
struct Dense : Position {
  i64 first;
  int inner;

  __device__ __forceinline__ Dense(int positions, int C, int inner, int lanes)
      : Position(positions, inner, C, C, lanes, inner > 1), inner(inner) {
    first = start({(i64)C * inner, inner, 1});
  }
  __device__ __forceinline__ i64 operator()(int c) const { return first + (i64)c * inner; }
};

extern "C" __global__ void softmax(const T* __restrict__ x, T* __restrict__ y, int positions, int C, int inner,
                                   int lanes) {
  Dense at(positions, C, inner, lanes);
  Sum s = over_classes<Sum>(at, [=](int c) { return wide(x[at(c)]); });
  A share = 1 / (s.sum + (s.top - s.top));  // NaN where the maximum is infinite
  each_class(at, [=](int c) { narrow(exp(wide(x[at(c)]) - s.top) * share, y[at(c)]); });
}

extern "C" __global__ void log_softmax(const T* __restrict__ x, T* __restrict__ y, int positions, int C, int inner,
                                       int lanes) {
  Dense at(positions, C, inner, lanes);
  Sum s = over_classes<Sum>(at, [=](int c) { return wide(x[at(c)]); });
  A log_sum = log(s.sum + (s.top - s.top));
  each_class(at, [=](int c) { narrow(wide(x[at(c)]) - s.top - log_sum, y[at(c)]); });
}

extern "C" __global__ void softmax_back(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ dx,
                                        int positions, int C, int inner, int lanes) {
  Dense at(positions, C, inner, lanes);
  A dot = over_classes<Total>(at, [=](int c) { return wide(g[at(c)]) * wide(y[at(c)]); }).sum;
  each_class(at, [=](int c) {
    i64 i = at(c);
    narrow(wide(y[i]) * (wide(g[i]) - dot), dx[i]);
  });
}

extern "C" __global__ void log_softmax_back(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ dx,
                                            int positions, int C, int inner, int lanes) {
  Dense at(positions, C, inner, lanes);
  A sum = over_classes<Total>(at, [=](int c) { return wide(g[at(c)]); }).sum;
  each_class(at, [=](int c) {
    i64 i = at(c);
    narrow(wide(g[i]) - exp(wide(y[i])) * sum, dx[i]);
  });
}

extern "C" __global__ void logsumexp_back(const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ y,
                                          T* __restrict__ dx, int positions, int C, int inner, int lanes) {
  Dense at(positions, C, inner, lanes);
  A top = at.there ? wide(y[at.r]) : A(0);
  A sum = over_classes<Total>(at, [=](int c) { return exp(wide(x[at(c)]) - top); }).sum;
  A share = at.there ? wide(g[at.r]) / sum : A(0);
  each_class(at, [=](int c) { narrow(exp(wide(x[at(c)]) - top) * share, dx[at(c)]); });
}
