// Positions of an array (N, C, P), which have C classes each: who works on which, and how its classes are walked along.
#include "lanes.cuh"

struct Strides { i64 n, c, p; };  // of an array (N, C, P), in numbers

// The position that a thread works on, with the other lanes of it (lanes.cuh): the r-th, p of n.
struct Position : Lanes {
  i64 r;
  u32 n, p;
  bool there;

  __device__ __forceinline__ Position(int positions, u32 P, int lanes, bool columns) : Lanes(lanes, columns) {
    r = (i64)blockIdx.x * results + result;
    n = (u32)r / P;
    p = (u32)r % P;
    there = r < positions;
  }
  __device__ __forceinline__ i64 start(const Strides& s) const { return n * s.n + p * s.p; }  // where its classes begin
};

// What the lanes find in all classes c, each read by load(c). All threads of a block come here.
template <class S, class F> __device__ __forceinline__ S over_classes(const Position& at, int C, F load) {
  __shared__ S shared[ROOM];
  S s = S::none();
  if (at.there) s = found<S>(at.lane, C, at.lanes, load);
  return together(s, at, shared);
}

template <class F> __device__ __forceinline__ void each_class(const Position& at, int C, F write) {
  if (at.there)
#pragma unroll 4
    for (int c = at.lane; c < C; c += at.lanes) write(c);
}
