// The largest number and where it stands: of equals the first, and NaN before all.
#include "common.cuh"

struct Best {
  A top;
  Index at;
  __device__ static Best none() { return {-infinity(), (Index)0x7fffffffffffffff}; }
};

__device__ __forceinline__ Best both(Best a, Best b) {
  bool nan_a = a.top != a.top, nan_b = b.top != b.top;
  bool equal = a.top == b.top || (nan_a && nan_b);
  return (equal ? a.at < b.at : nan_a || a.top > b.top) ? a : b;
}

__device__ __forceinline__ Best other(Best s, int bits) {
  return {__shfl_xor_sync(~0u, s.top, bits), __shfl_xor_sync(~0u, s.at, bits)};
}
