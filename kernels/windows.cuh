// Windows that move over an image: size, stride, padding and dilation of each axis; and, for gradients that are
// gathered, which windows lie on a pixel.
#include "common.cuh"

struct Windows { int kh, kw, sh, sw, ph, pw, dh, dw; };

// The windows on pixel p of an axis are among first..last: window i lies on i s - pad, .. + d, .. + (k - 1) d.
struct Range { int first, last; };

__device__ __forceinline__ Range windows_on(int p, int k, int s, int pad, int d, int count) {
  int low = p + pad - (k - 1) * d;
  return {low > 0 ? (low + s - 1) / s : 0, min((p + pad) / s, count - 1)};
}

// Which place of window i lies on pixel p; -1 if the pixel falls between two of them.
__device__ __forceinline__ int place_on(int p, int i, int s, int pad, int d) {
  int far = p + pad - i * s;
  return d == 1 ? far : far % d ? -1 : far / d;
}
