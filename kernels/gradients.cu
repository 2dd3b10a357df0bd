// What is done to all gradients before a step: their norm, clipping, and loss scaling.
//
// MATH      total_norm   (sum of |g|^p over all elements of all arrays)^(1/p); the largest |g| for p = inf
//           clip_norm_   g = g min(1, most / (norm + 1e-6))
//           clip_value_  g = min(max(g, -most), most)
//           unscale_     found = 1 if any g is inf or NaN;  g = inverse g
//           update_scale_   of {s, 1 / s, good, skipped}: lost = how many flags are 1;  skipped += lost
//                        s = backoff s, good = 0 if lost, else good += 1;  s = growth s, good = 0 if good = interval
// BACKWARD  none.
// TILING    the norm in two launches: each block of total_norm_parts leaves one number, and one block of total_norm
//           adds them up. Clipping is a third, however many arrays there are, as the first gradient can be scaled only
//           when the last is known; or no launch at all: a step can read its gradients clipped. The rest as updates.cu.
//
//               g0  ....|....|..   g1  .   g2  ....|...        CHUNK elements a block: threads, shuffles, shared memory
//               parts  s  s  s         s        s  s           added up in float64, always in the same order
//
// COST      the norm reads each number once; clipping and unscaling read it and write it. Bound by memory: float32,
//           11.2 million parameters: 45 MB and 89 MB. Nothing is written where the norm is small enough.
// EDGES     as updates.cu. NaN anywhere gives the norm NaN, and clipping by it gives NaN everywhere, as defined. The
//           norm and the flag are read where they lie: nothing waits for them. Squares are float32: |g| above 1.8e19
//           gives inf. The order of a sum depends on whether its arrays lie on 16 bytes; every allocation does.
// MEASURED  not yet on a GPU. Expected: 0.85 of the memory's bandwidth from some ten million parameters on.
// SOURCE    R. Pascanu et al., "On the difficulty of training recurrent neural networks", 2013; P. Micikevicius et al.,
//           "Mixed precision training", 2018.
// SPEC      Gradients (tinygrad_fast/backend/gradients.py).
#include "lanes.cuh"
#include "lists.cuh"

// A sum, or the largest of some numbers, and NaN if one is.
template <class N> struct Size { N x; bool largest; };

template <class N> __device__ __forceinline__ Size<N> both(Size<N> a, Size<N> b) {
  return {!a.largest ? a.x + b.x : b.x > a.x || b.x != b.x ? b.x : a.x, a.largest};
}

template <class N> __device__ __forceinline__ Size<N> other(Size<N> s, int bits) {
  return {__shfl_xor_sync(~0u, s.x, bits), s.largest};
}

// Of all threads of a block, known to its first.
template <class N> __device__ __forceinline__ N of_block(Size<N> s) {
  __shared__ Size<N> shared[8];
  return together(s, Lanes(blockDim.x, false), shared, false).x;
}

extern "C" __global__ void __launch_bounds__(256) total_norm_parts(
    Arrays<const T> gs, List<i64> sizes, List<i64> first, double* __restrict__ part, double p) {
  Size<A> s = {0, p > 1e300};
  if (s.largest) each(sizes, first, [&](A g) { s = both(s, {fabs(g), true}); }, gs);
  else if (p == 2) each(sizes, first, [&](A g) { s.x += g * g; }, gs);
  else each(sizes, first, [&](A g) { s.x += pow(fabs(g), (A)p); }, gs);
  A x = of_block(s);
  if (threadIdx.x == 0) part[blockIdx.x] = x;
}

extern "C" __global__ void __launch_bounds__(256) total_norm(
    const double* __restrict__ part, A* __restrict__ norm, int n, double p) {
  Size<double> s = {0, p > 1e300};
  for (int i = threadIdx.x; i < n; i += blockDim.x) s = both(s, {part[i], s.largest});
  double x = of_block(s);
  if (threadIdx.x == 0) *norm = (A)(s.largest ? x : p == 2 ? sqrt(x) : pow(x, 1 / p));
}

extern "C" __global__ void __launch_bounds__(256) clip_norm_(
    Arrays<T> gs, List<i64> sizes, List<i64> first, const A* __restrict__ norm, A most) {
  A scale = most / (*norm + (A)1e-6);
  if (scale >= 1) return;  // not with NaN
  each(sizes, first, [=](A& g) { g *= scale; }, gs);
}

extern "C" __global__ void __launch_bounds__(256) clip_value_(Arrays<T> gs, List<i64> sizes, List<i64> first, A most) {
  each(sizes, first, [=](A& g) { g = g > most ? most : g < -most ? -most : g; }, gs);
}

extern "C" __global__ void __launch_bounds__(256) unscale_(
    Arrays<T> gs, List<i64> sizes, List<i64> first, const double* __restrict__ inverse, int* __restrict__ found) {
  A s = (A)*inverse;
  bool lost = false;
  each(sizes, first, [&](A& g) {
    lost |= !(g - g == 0);  // inf - inf is NaN
    g *= s;
  }, gs);
  if (__any_sync(~0u, lost) && threadIdx.x % 32 == 0) atomicOr(found, 1);
}

// One thread: the scale of the next step, within float32's range.
extern "C" __global__ void update_scale_(
    double* __restrict__ state_, Arrays<const int> flags, double growth, double backoff, int interval) {
  double scale = state_[0], good = state_[2] + 1;
  int lost = 0;
  for (int i = 0; i < flags.size; i++) lost += *flags.at[i];
  if (lost) {
    scale = fmax(scale * backoff, 0x1p-126);
    good = 0;
  } else if (good >= interval) {
    if (scale * growth <= 0x1.fffffep127) scale *= growth;
    good = 0;
  }
  state_[0] = scale, state_[1] = 1 / scale, state_[2] = good, state_[3] += lost;
}
