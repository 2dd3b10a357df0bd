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

// y in order C, written E neighbours of a row at a time: 16 bytes, where they begin aligned.
struct Rows {
  static const int E = 16 / sizeof(T);
  T* y;
  const T* bias;
  int M, N, relu;
  __device__ __forceinline__ T* row(int m) const { return m < M ? y + (i64)m * N : nullptr; }
  __device__ __forceinline__ void put(T* row, int n, const A (&sums)[E]) const {
    if (!row || n >= N) return;
    if (N % E == 0) {  // then every row of y begins aligned, and nothing is left over
      Pack<T> out;
#pragma unroll
      for (int e = 0; e < E; e++) finish(sums[e], bias, n + e, relu, out.at[e]);
      *(Pack<T>*)(row + n) = out;
    } else {
#pragma unroll
      for (int e = 0; e < E; e++)
        if (n + e < N) finish(sums[e], bias, n + e, relu, row[n + e]);
    }
  }
};
