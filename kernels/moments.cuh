// Words of the normalisations: what is kept of many numbers, and how threads put it together.
#include "common.cuh"

// Of some numbers x: how many, their mean less an origin that all share, and the sum of (x - mean)^2.
//
// The origin is one of the numbers, so that a large mean is not in the arithmetic: of the difference of two means that
// are nearly the same, its last place would be all that is left.
struct Moments { A n, mean, squares; };

// From the sums of d = x - first and of d^2 over n numbers, `first` one of them: (first - mean)^2 is one of the terms
// of the result, so that the difference loses at worst the digits of n.
__device__ __forceinline__ Moments moments(A n, A first, A sum, A squares, A origin) {
  if (n == 0) return {0, 0, 0};
  A rest = squares - sum * (sum / n);
  return {n, first - origin + sum / n, rest < 0 ? A(0) : rest};
}

__device__ __forceinline__ Moments both(Moments a, Moments b) {
  A n = a.n + b.n, d = b.mean - a.mean, share = n > 0 ? b.n / n : A(0);
  return {n, a.mean + d * share, a.squares + b.squares + d * (d * (a.n * share))};
}

__device__ __forceinline__ Moments other(Moments s, int bits) {
  return {__shfl_xor_sync(~0u, s.n, bits), __shfl_xor_sync(~0u, s.mean, bits), __shfl_xor_sync(~0u, s.squares, bits)};
}

// Of some pairs (g, d): the sum of g and the sum of g d.
struct Sums { A g, gd; };

__device__ __forceinline__ Sums both(Sums a, Sums b) { return {a.g + b.g, a.gd + b.gd}; }

__device__ __forceinline__ Sums other(Sums s, int bits) {
  return {__shfl_xor_sync(~0u, s.g, bits), __shfl_xor_sync(~0u, s.gd, bits)};
}

// What this lane and the one `bits` away found: the lower lane's first, so that both know the same to the last bit.
template <class S> __device__ __forceinline__ S with_other(S s, int lane, int bits) {
  S theirs = other(s, bits);
  return lane & bits ? both(theirs, s) : both(s, theirs);
}

// What the threads of one threadIdx.y found, known to each of them. blockDim.x is a power of two, the block whole
// warps; `found` is shared memory, one for each warp, where blockDim.x is more than 32.
template <class S> __device__ __forceinline__ S across_line(S s, S* found = nullptr) {
  int t = threadIdx.y * blockDim.x + threadIdx.x, first = threadIdx.y * blockDim.x / 32;
  for (int bits = min((int)blockDim.x, 32) / 2; bits; bits /= 2) s = with_other(s, t, bits);
  if (blockDim.x <= 32) return s;
  __syncthreads();  // nobody reads what was found before
  if (t % 32 == 0) found[t / 32] = s;
  __syncthreads();
  s = found[first];
  for (int i = 1; i < blockDim.x / 32; i++) s = both(s, found[first + i]);
  return s;
}
