// The maximum of some numbers and the sum of exp(x - maximum) over them, found in one pass, however it is cut up.
// M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018.
#include "lanes.cuh"

struct Sum {
  A top, sum;
  __device__ static Sum none() { return {-infinity(), 0}; }
  __device__ static Sum of(const A* x, int n) {  // one exp each, as the maximum is found first
    A top = x[0], sum = 0;
#pragma unroll
    for (int j = 1; j < MANY; j++)
      if (j < n && !(x[j] <= top)) top = x[j];  // NaN too, and then the sum is NaN whatever follows
    A from = level(top);
#pragma unroll
    for (int j = 0; j < MANY; j++)
      if (j < n) sum += exp(x[j] - from);
    return {top, sum};
  }
  __device__ static A level(A top) { return top - top == 0 ? top : A(0); }  // what is subtracted: nothing infinite
};

__device__ __forceinline__ Sum both(Sum a, Sum b) {
  A top = a.top > b.top ? a.top : b.top;  // at its own top a sum is as it is: -inf - -inf is never asked for
  return {top, (a.top == top ? a.sum : a.sum * exp(a.top - top)) + (b.top == top ? b.sum : b.sum * exp(b.top - top))};
}
__device__ __forceinline__ Sum other(Sum s, int bits) {
  return {__shfl_xor_sync(~0u, s.top, bits), __shfl_xor_sync(~0u, s.sum, bits)};
}
