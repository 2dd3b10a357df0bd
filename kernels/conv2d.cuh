// What the upper rungs of convolution share: how a window walks, and how one divides by a size.
#include "common.cuh"

// n / by for 0 <= n < 2^31 by a multiplication and a shift; the launcher makes it. minus = -by, for what is left over.
struct Division { int by, minus; u32 times, shift; };

__device__ __forceinline__ int operator/(int n, const Division& d) { return __umulhi(2 * (u32)n, d.times) >> d.shift; }

// How a window walks: the tap (a, b) of the place (i, j) meets row i stride_h + first_h + a dilation_h, and likewise w.
struct Walk { int H, W, pixel, stride_h, stride_w, first_h, first_w, dilation_h, dilation_w; };  // pixel: its elements
