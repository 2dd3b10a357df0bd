// What is kept of many numbers for their mean and variance, and for the gradient of a normalisation: structures that
// lanes.cuh puts together.
#include "lanes.cuh"

// Of some numbers x: how many, their mean less an origin that all share, and the sum of (x - mean)^2.
//
// The origin is one of the numbers, so that a large mean is not in the arithmetic: of the difference of two means that
// are nearly the same, its last place would be all that is left.
struct Moments {
  A n, mean, squares;
  __device__ static Moments none() { return {0, 0, 0}; }
  __device__ static Moments of(const A* x, int n) {
    A mean = Total::of(x, n).sum / n, squares = 0;
#pragma unroll
    for (int j = 0; j < MANY; j++)
      if (j < n) squares += (x[j] - mean) * (x[j] - mean);
    return {(A)n, mean, squares};
  }
};

// From the sums of d = x - first and of d^2 over n numbers, `first` one of them: (first - mean)^2 is one of the terms
// of the result, so that the difference loses at worst the digits of n.
__device__ __forceinline__ Moments moments(A n, A first, A sum, A squares, A origin) {
  if (n == 0) return Moments::none();
  A rest = squares - sum * (sum / n);
  return {n, first - origin + sum / n, rest < 0 ? A(0) : rest};
}

// By T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
__device__ __forceinline__ Moments both(Moments a, Moments b) {
  A n = a.n + b.n, d = b.mean - a.mean, share = n > 0 ? b.n / n : A(0);
  return {n, a.mean + d * share, a.squares + b.squares + d * (d * (a.n * share))};
}

__device__ __forceinline__ Moments other(Moments s, int bits) {
  return {__shfl_xor_sync(~0u, s.n, bits), __shfl_xor_sync(~0u, s.mean, bits), __shfl_xor_sync(~0u, s.squares, bits)};
}

// The same about a number of its own, `origin`: for those who find parts of the whole and do not know each other's.
struct __align__(16) Part { A origin; Moments about; };

// From the sums of d = x - first and of d^2, as above.
__device__ __forceinline__ Part part(A n, A first, A sum, A squares) {
  return {first, moments(n, first, sum, squares, first)};
}

__device__ __forceinline__ Part both(Part a, Part b) {
  if (a.about.n == 0) return b;
  b.about.mean += b.origin - a.origin;
  return {a.origin, both(a.about, b.about)};
}

__device__ __forceinline__ Part other(Part s, int bits) {
  return {__shfl_xor_sync(~0u, s.origin, bits), other(s.about, bits)};
}

// Of some pairs (g, d): the sum of g and the sum of g d.
struct Sums { A g, gd; };

__device__ __forceinline__ Sums both(Sums a, Sums b) { return {a.g + b.g, a.gd + b.gd}; }

__device__ __forceinline__ Sums other(Sums s, int bits) {
  return {__shfl_xor_sync(~0u, s.g, bits), __shfl_xor_sync(~0u, s.gd, bits)};
}
