// Reductions over any axes: sum, mean, prod, amax, amin, var, logsumexp, argmax, argmin.
//
// MATH      y[k] = the reduction of x[k, r] over r. k counts the K results, r the R numbers that go into each; axes
//           that follow each other in memory are merged, and whatever is left is walked by its strides: nothing is
//           copied. var is one pass over x[k, r] - x[k, 0]: how many, their mean, the sum of (x - mean)^2.
// BACKWARD  the ops' own: g expanded, where a number counts.
// TILING    of two, the one in which neighbouring threads read neighbouring numbers (lanes.cuh).
//
//               rows (r fastest)      k |--- lanes along r --->|      columns (k fastest)      |-- 32 results -->|
//                                     k |--------------------->|                         lanes |                 |
//                                                                                      along r v                 |
//
//           A short row takes 1 to 32 lanes, a long one a block. Few results of many numbers each are cut into pieces
//           (not argmax), gridDim.y of them; what a piece found goes to memory, and a second launch puts them together
//           in order. How it is cut depends on shape and strides alone: the same bits on every GPU, every time.
// COST      R K numbers read once, K written; pieces besides, for few results: 1 / 128 of that at most. Bound by
//           memory: float32 bias gradient of 65,536 rows of 1024: 268 MB.
// EDGES     R = 0 gives 0, 1 for prod and NaN for mean and var; the others refuse it. NaN anywhere in a row gives NaN,
//           and its index for argmax and argmin; of equals they take the first. Of 2^31 results or numbers and more
//           they are counted in 64 bits (-DINDEX=i64), which takes 52 registers for 36, and a call for each division.
// MEASURED  not yet on a GPU. Expected: 0.85 of the memory's bandwidth where R K is 2^22 or more; 0.5 where the fastest
//           of several reduced axes is shorter than the lanes (7 x 7 pixels over a batch): a division a number.
// SOURCE    var: as moments.cuh. The two tilings are those of PyTorch's aten/src/ATen/native/cuda/Reduce.cuh.
// SPEC      CPU's functions of these names (tinygrad_fast/backend/cpu.py), Composed's mean, var and logsumexp.
#include "best.cuh"
#include "moments.cuh"
#include "online_softmax.cuh"

// Axes from the slowest to the fastest: sizes, and elements from one to the next. Filled up with 1 in front.
struct Axes { long long n[4], s[4]; };

struct Plan {
  long long K, R, length;  // results, numbers of each, numbers of a piece
  int lanes, columns;      // as in lanes.cuh
};

// Where number i is, counted along the axes up to LAST.
template <int LAST = 3> __device__ __forceinline__ i64 place(const Axes& axes, Index i) {
  i64 at = 0;
#pragma unroll  // else the compiler copies the axes to memory, to look them up by d
  for (int d = LAST; d >= 0; d--) {
    if (!i) break;
    Index n = axes.n[d];
    at += i % n * axes.s[d];
    i /= n;
  }
  return at;
}

// Reads x[r] along the reduced axes, for growing r: divisions only at the end of a row, of the fastest of them.
struct Along {
  const T* x;
  const Axes& axes;
  Index n, first;  // the length of a row; the first number of this one
  i64 at;          // where that is

  __device__ __forceinline__ Along(const T* x, const Axes& axes, Index r) : x(x), axes(axes), n(axes.n[3]) { enter(r); }
  __device__ __forceinline__ void enter(Index r) {
    Index row = r / n;
    first = row * n;
    at = place<2>(axes, row);
  }
  __device__ __forceinline__ A operator()(Index r) {
    if (r - first >= n) enter(r);
    return wide(x[at + (i64)(r - first) * axes.s[3]]);
  }
};

// Each kernel is this, with what it finds (S) of the numbers, and what it says of it (`value`). Numbers count from 0,
// or from the first of their row, and times SIGN. In goes x, or what pieces found; out comes y, or a piece.
template <class S, int SIGN = 1, bool FROM_FIRST = false, class F>
__device__ __forceinline__ void reduce(const T* x, const A* pieces, A* piece, T* y, const Axes& kept,
                                       const Axes& reduced, const Plan& plan, F value) {
  __shared__ S shared[ROOM];
  Lanes at(plan.lanes, plan.columns);
  i64 k = (i64)blockIdx.x * at.results + at.result;
  S s = S::none();
  if (k < plan.K && x) {
    Index R = plan.R, length = plan.length, begin = blockIdx.y * length, end = begin + length, r = begin + at.lane;
    if (end > R) end = R;
    if (r < end) {
      x += place(kept, k);
      A zero = FROM_FIRST ? wide(*x) : A(0);
      Along along(x, reduced, r);
      s = found<S>(r, end, plan.lanes, [&](Index r) { return SIGN * (along(r) - zero); });
    }
  } else if (k < plan.K) {
    for (int r = at.lane; r < (int)plan.R; r += plan.lanes) s = both(s, ((const S*)pieces)[r * plan.K + k]);
  }
  s = together(s, at, shared, false);
  if (k >= plan.K || at.lane) return;
  if (piece) ((S*)piece)[blockIdx.y * plan.K + k] = s;
  else narrow(SIGN * value(s), y[k]);
}

extern "C" __global__ void sum(const T* __restrict__ x, const A* __restrict__ pieces, A* __restrict__ piece,
                               T* __restrict__ y, Axes kept, Axes reduced, Plan plan) {
  reduce<Total>(x, pieces, piece, y, kept, reduced, plan, [](Total s) { return s.sum; });
}

extern "C" __global__ void mean(const T* __restrict__ x, const A* __restrict__ pieces, A* __restrict__ piece,
                                T* __restrict__ y, Axes kept, Axes reduced, Plan plan, A by) {
  reduce<Total>(x, pieces, piece, y, kept, reduced, plan, [=](Total s) { return s.sum / by; });
}

struct Product {
  A product;
  __device__ static Product none() { return {1}; }
  __device__ static Product of(const A* x, int n) {
    A s = 1;
#pragma unroll
    for (int j = 0; j < MANY; j++)
      if (j < n) s *= x[j];
    return {s};
  }
};
__device__ __forceinline__ Product both(Product a, Product b) { return {a.product * b.product}; }
__device__ __forceinline__ Product other(Product s, int bits) { return {__shfl_xor_sync(~0u, s.product, bits)}; }

extern "C" __global__ void prod(const T* __restrict__ x, const A* __restrict__ pieces, A* __restrict__ piece,
                                T* __restrict__ y, Axes kept, Axes reduced, Plan plan) {
  reduce<Product>(x, pieces, piece, y, kept, reduced, plan, [](Product s) { return s.product; });
}

__device__ __forceinline__ A larger(A a, A b) { return a >= b || a != a ? a : b; }  // NaN before all

struct Largest {
  A top;
  __device__ static Largest none() { return {-infinity()}; }
  __device__ static Largest of(const A* x, int n) {
    A s = x[0];
#pragma unroll
    for (int j = 1; j < MANY; j++)
      if (j < n) s = larger(s, x[j]);
    return {s};
  }
};
__device__ __forceinline__ Largest both(Largest a, Largest b) { return {larger(a.top, b.top)}; }
__device__ __forceinline__ Largest other(Largest s, int bits) { return {__shfl_xor_sync(~0u, s.top, bits)}; }

extern "C" __global__ void amax(const T* __restrict__ x, const A* __restrict__ pieces, A* __restrict__ piece,
                                T* __restrict__ y, Axes kept, Axes reduced, Plan plan) {
  reduce<Largest>(x, pieces, piece, y, kept, reduced, plan, [](Largest s) { return s.top; });
}

extern "C" __global__ void amin(const T* __restrict__ x, const A* __restrict__ pieces, A* __restrict__ piece,
                                T* __restrict__ y, Axes kept, Axes reduced, Plan plan) {
  reduce<Largest, -1>(x, pieces, piece, y, kept, reduced, plan, [](Largest s) { return s.top; });
}

extern "C" __global__ void var(const T* __restrict__ x, const A* __restrict__ pieces, A* __restrict__ piece,
                               T* __restrict__ y, Axes kept, Axes reduced, Plan plan, A by) {
  reduce<Moments, 1, true>(x, pieces, piece, y, kept, reduced, plan, [=](Moments s) { return s.squares / by; });
}

extern "C" __global__ void logsumexp(const T* __restrict__ x, const A* __restrict__ pieces, A* __restrict__ piece,
                                     T* __restrict__ y, Axes kept, Axes reduced, Plan plan) {
  reduce<Sum>(x, pieces, piece, y, kept, reduced, plan, [](Sum s) { return s.top + log(s.sum); });
}

template <int SIGN>
__device__ __forceinline__ void place_of_best(const T* x, i64* y, const Axes& kept, const Axes& reduced,
                                              const Plan& plan) {
  __shared__ Best shared[ROOM];
  Lanes at(plan.lanes, plan.columns);
  i64 k = (i64)blockIdx.x * at.results + at.result;
  Best s = Best::none();
  if (k < plan.K && at.lane < plan.R) {
    Along along(x + place(kept, k), reduced, at.lane);
#pragma unroll 4
    for (Index r = at.lane; r < (Index)plan.R; r += plan.lanes) s = both(s, {SIGN * along(r), r});
  }
  s = together(s, at, shared, false);
  if (k < plan.K && !at.lane) y[k] = s.at;
}

extern "C" __global__ void argmax(const T* __restrict__ x, i64* __restrict__ y, Axes kept, Axes reduced, Plan plan) {
  place_of_best<1>(x, y, kept, reduced, plan);
}

extern "C" __global__ void argmin(const T* __restrict__ x, i64* __restrict__ y, Axes kept, Axes reduced, Plan plan) {
  place_of_best<-1>(x, y, kept, reduced, plan);
}
