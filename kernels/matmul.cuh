// What every rung of the ladder of matrix products shares: where a matrix of a batch starts, and what is done to a sum.
#include "common.cuh"

struct Batch {         // up to four batch axes, the last the fastest; strides in elements, 0 where broadcast
  int size[4];
  long long x[4], w[4];
};

// Where matrix b starts: b written in digits of base size[], each times its stride.
__device__ __forceinline__ i64 start(const Batch& batch, const long long (&strides)[4], int b) {
  i64 at = 0;
#pragma unroll
  for (int i = 3; i >= 0; i--) {
    at += b % batch.size[i] * strides[i];
    b /= batch.size[i];
  }
  return at;
}

// The epilogue: what is left to do while the sum is in a register.
__device__ __forceinline__ void finish(A sum, const T* bias, int n, int relu, T& y) {
  if (bias) sum += wide(bias[n]);
  narrow(relu && sum < 0 ? A(0) : sum, y);
}
