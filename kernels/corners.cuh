// The pixels around a place in an image, and their weights: for whoever reads between pixels.
#pragma once
#include "common.cuh"

struct Layout { long long n, c, h, w; };  // strides, in elements

struct Rule { int nearest, reflects, clips, align; };  // what is read at a place, and what lies outside of the image

// A coordinate in pixels, brought to an axis of n as the rule says; `slope` turns where the image is mirrored.
__device__ __forceinline__ A within(A at, A& slope, int n, Rule rule) {
  A last = n - 1;
  if (rule.reflects) {
    A low = rule.align ? A(0) : A(-0.5), span = rule.align ? last : A(n);
    if (!span) {
      slope = 0;
      return (at - low) * 0;
    }
    A far = fabs(at - low), flips = floor(far / span), rest = far - flips * span;
    bool odd = flips / 2 != floor(flips / 2);
    if (odd != (at < low)) slope = -slope;
    at = (odd ? span - rest : rest) + low;
  }
  if (rule.clips) {
    if (!(at > 0 && at < last)) slope = 0;
    at = at < 0 ? A(0) : at > last ? last : at;
  }
  return at;
}

// The two pixels of an axis beside a place (one, if nearest): which, or -1 outside; their weights, 0 outside.
struct Sides {
  int at[2];
  A weight[2], slope;  // of weight[1] with the place; that of weight[0] is its opposite
};

__device__ __forceinline__ Sides sides(A at, A slope, int n, Rule rule) {
  A x = within(at, slope, n, rule), left = rule.nearest ? rint(x) : floor(x), rest = x - left;
  Sides s = {{-1, -1}, {0, 0}, slope};
  if (left >= 0 && left < n) s.at[0] = (int)left, s.weight[0] = rule.nearest ? A(1) : 1 - rest;
  if (left >= -1 && left < n - 1 && !rule.nearest) s.at[1] = (int)left + 1, s.weight[1] = rest;
  return s;
}

// The value between the pixels: read(i, j) is that of side i down and side j across.
template <class Read> __device__ __forceinline__ A between(const Sides& across, const Sides& down, Read read) {
  A sum = 0;
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (down.at[k / 2] >= 0 && across.at[k % 2] >= 0)
      sum += read(k / 2, k % 2) * (across.weight[k % 2] * down.weight[k / 2]);
  return sum;
}

// The same of x, a channel of an image in `at`'s layout.
template <class P>
__device__ __forceinline__ A between(const P* __restrict__ x, Layout at, const Sides& across, const Sides& down) {
  return between(across, down, [&](int i, int j) { return wide(x[down.at[i] * at.h + across.at[j] * at.w]); });
}
