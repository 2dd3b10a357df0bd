// Binary cross-entropy of logits, element by element, the loss and its gradient: one reading of x and t, one writing.
//
// MATH      y = p t softplus(-x) + (1 - t) softplus(x),   softplus(z) = max(z, 0) + log(1 + exp(-|z|))
//           p weighs what is positive: one number for each of the last P elements, as they repeat; null for 1.
// BACKWARD  dx = g ((1 - t) sigmoid(x) - p t sigmoid(-x))
// TILING    a thread for every element, and further ones a grid apart: neighbours together read whole lines.
// COST      12 bytes an element forward, 16 back (float32), one exponential; bound by memory. Written with elementwise
//           operations it is eleven passes.
// EDGES     any number of elements. Stable at any height: exp(-|x|) never overflows, and both logarithms and both
//           sigmoids come from it without a difference of near numbers.
// MEASURED  not yet on a GPU. Expected: 0.9 of the memory's bandwidth.
// SOURCE    the definition.
// SPEC      Losses.binary_cross_entropy_with_logits and its _back (tinygrad_fast/backend/losses.py).
#include "common.cuh"

__device__ __forceinline__ A positive(A z) { return z > 0 ? z : A(0); }

extern "C" __global__ void binary_cross_entropy_with_logits(
    const T* __restrict__ x, const T* __restrict__ t, const T* __restrict__ p, T* __restrict__ y, i64 n, i64 P) {
  for (i64 i = blockIdx.x * (i64)blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
    A z = wide(x[i]), yes = wide(t[i]), weight = p ? wide(p[i % P]) : A(1);
    A rest = log1p(exp(z > 0 ? -z : z));
    narrow(weight * yes * (positive(-z) + rest) + (1 - yes) * (positive(z) + rest), y[i]);
  }
}

extern "C" __global__ void binary_cross_entropy_with_logits_back(
    const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ t, const T* __restrict__ p,
    T* __restrict__ dx, i64 n, i64 P) {
  for (i64 i = blockIdx.x * (i64)blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
    A z = wide(x[i]), yes = wide(t[i]), weight = p ? wide(p[i % P]) : A(1);
    A e = exp(z > 0 ? -z : z), high = 1 / (1 + e), low = e / (1 + e);  // sigmoid(|x|), sigmoid(-|x|)
    narrow(wide(g[i]) * ((1 - yes) * (z > 0 ? high : low) - weight * yes * (z > 0 ? low : high)), dx[i]);
  }
}
