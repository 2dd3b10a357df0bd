// Positions of an array (N, C, P), which have C classes each: who works on which, and how its classes are walked along.
#include "lanes.cuh"

struct Strides { i64 n, c, p; };  // of an array (N, C, P), in numbers

// The position that a thread works on, with the other lanes of it (lanes.cuh): the r-th, p of n; and which of its
// classes. Where positions are few and classes many, several blocks share one: each has a piece, `length` of them.
struct Position : Lanes {
  i64 r;
  u32 n, p;
  int begin, end;
  bool there;

  __device__ __forceinline__ Position(int positions, u32 P, int C, int length, int lanes, bool columns)
      : Lanes(lanes, columns) {
    r = (i64)blockIdx.x * results + result;
    n = (u32)r / P;
    p = (u32)r % P;
    begin = blockIdx.y * length;
    end = C - begin < length ? C : begin + length;
    there = r < positions;
  }
  __device__ __forceinline__ i64 start(const Strides& s) const { return n * s.n + p * s.p; }  // where its classes begin
};

// What the lanes find in their classes c, each read by load(c). All threads of a block come here.
template <class S, class F> __device__ __forceinline__ S over_classes(const Position& at, S* shared, F load) {
  S s = S::none();
  if (at.there) s = found<S>(at.begin + at.lane, at.end, at.lanes, load);
  return together(s, at, shared);
}

template <class S, class F> __device__ __forceinline__ S over_classes(const Position& at, F load) {
  __shared__ S shared[ROOM];
  return over_classes<S>(at, shared, load);
}

template <class F> __device__ __forceinline__ void each_class(const Position& at, F write) {
  if (at.there)
#pragma unroll 4
    for (int c = at.begin + at.lane; c < at.end; c += at.lanes) write(c);
}
