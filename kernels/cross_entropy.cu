// Softmax and cross-entropy in one: the probabilities are never written to memory.
//
// MATH      loss[r] = -w[t] logp[t] (1 - e) - e / C sum over c of w[c] logp[c],   logp[c] = x[c] - log(sum of exp(x))
//           for every position r of a batch, with e the label smoothing; 0 where t[r] is ignored.
//           soft_: t[r, c] are probabilities, and q[c] = w[c] ((1 - e) t[c] + e / C):
//           loss[r] = -sum over c of q[c] logp[c]
// BACKWARD  dx[c] = exp(logp[c]) total - s w[c] - (c == t ? a : 0), with a, s and total = a + s sum(w) of each row
//           given: what the mean, the weights and the gradient of the loss make of it (Losses.cross_entropy_back).
//           soft_: dx[c] = a (exp(logp[c]) sum(q) - q[c]), a the row's part of g.
// TILING    the lanes of a row walk along its classes together, once (lanes.cuh). Neighbouring threads take what is
//           neighbours in memory: classes, or rows.
//
//               classes side by side: (N, C), or images channels-last        rows side by side: images (N, C, H, W)
//
//                   r |--- lanes along c --->|                                           |-- 32 pixels -->|
//                   r |--------------------->|                               lanes along |                |
//                                                                                      c v                |
//
//           A warp asks for 32 numbers of a line, 4 sectors of 32 bytes (16-bit floats: 2); 32 classes of one pixel
//           would be 32 sectors. A lane keeps (maximum, sum of exp(x - maximum)), with smoothing and for soft_ also the
//           sums of q and of q (x - maximum). Where rows are few and long, blocks share them: forward each leaves what
//           it found in a piece of a row, and a second launch puts the pieces together, in one order.
// COST      forward C numbers read once (soft_: twice C) and 24 bytes of each row; backward as much, and C written.
//           float32, 100,000 classes, 512 rows: 205 MB forward, 410 MB back.
//           Instructions a number on sm_90, float32 / 16 bits: forward 27 / 22, smoothed 37 / 33, soft_ 45 / 43,
//           backward 26 / 30, soft_ 32 / 34. 40 registers in float32, 56 with 16 bits, which are asked for by eights.
// EDGES     any C; x in any memory order, and dx in the same.
//           Stable at any height: what is kept of a row is its maximum and log(sum) apart, not their sum, whose last
//           place at 1e4 is a thousandth. A row of -inf, and one with NaN or +inf, gives NaN, as its definition does;
//           so does a class that does not exist.
// MEASURED  not yet on a GPU. Expected on an H100 (3.35 TB/s; 2.9e13 instructions of a thread a second, so 35 in the
//           time of 4 bytes), as shares of the memory's bandwidth:
//               from 1000 classes on, or images      float32 0.85 (smoothed 0.8); bound by instructions with 16 bits:
//                                                    forward 0.7, smoothed 0.5, soft_ 0.7, backward 0.8
//               10 classes, a million rows           0.35: 400 instructions of four lanes each for 68 bytes
//               10 classes, 512 rows                 3 us, those of a launch
//           64 rows of 100,000 classes are 512 blocks' work, as 512 rows are; the second launch takes 2 us.
// SOURCE    M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018.
// SPEC      Losses.cross_entropy, soft_cross_entropy and each _back (tinygrad_fast/backend/losses.py).
#include "online_softmax.cuh"
#include "positions.cuh"

// A sum of exponentials, and beside it, in the same pass, what a loss needs of all logits:
//     -sum(q logp) = log_sum sum(q) - sum(q (x - maximum))
// No term of the last sum is above 0 where q >= 0, so that none takes digits from another: at 1e4 as at 1.
struct Weighed { A x, q; };

struct Soft {
  Sum s;
  A q, qx;
  __device__ static Soft none() { return {Sum::none(), 0, 0}; }
  __device__ static Soft of(const Weighed* v, int n) {
    A x[MANY], q = 0, qx = 0;
#pragma unroll
    for (int j = 0; j < MANY; j++) x[j] = v[j].x;
    Sum s = Sum::of(x, n);
    A from = Sum::level(s.top);
#pragma unroll
    for (int j = 0; j < MANY; j++)
      if (j < n) {
        q += v[j].q;
        qx += v[j].q * (x[j] - from);
      }
    return {s, q, qx};
  }
};

__device__ __forceinline__ A moved(Soft a, A top) {  // a.qx, about another top; where nothing was added, nothing
  return a.s.top == top || a.s.sum == 0 ? a.qx : a.qx + a.q * (a.s.top - top);
}

__device__ __forceinline__ Soft both(Soft a, Soft b) {
  Sum s = both(a.s, b.s);
  return {s, a.q + b.q, moved(a, s.top) + moved(b, s.top)};
}

__device__ __forceinline__ Soft other(Soft a, int bits) {
  return {other(a.s, bits), __shfl_xor_sync(~0u, a.q, bits), __shfl_xor_sync(~0u, a.qx, bits)};
}

__device__ __forceinline__ A log_of(Sum s) { return log(s.sum + (s.top - s.top)); }  // NaN where the top is infinite

// What the lanes find in the `count` pieces of a row, each of which another block found in some of its classes.
__device__ __forceinline__ Soft over_pieces(const Position& at, const A* pieces, int count, int positions,
                                            Soft* shared) {
  Soft s = Soft::none();
  if (at.there)
    for (int i = at.lane; i < count; i += at.lanes) s = both(s, ((const Soft*)pieces)[i * (i64)positions + at.r]);
  return together(s, at, shared);
}

extern "C" __global__ void cross_entropy(
    const T* __restrict__ x, Strides xs, const i64* __restrict__ t, const A* __restrict__ w,  // w: of the classes
    const A* __restrict__ pieces, A* __restrict__ piece,                 // in goes x, or pieces; out a piece, or loss
    A* __restrict__ loss, A* __restrict__ weight, A* __restrict__ kept,  // of the rows; kept: maximum and log(sum)
    int positions, int C, int P, int length, int count, int lanes, int columns,  // length: classes of a piece
    A keep, A smooth, i64 ignored) {                                             // 1 - e, e / C
  __shared__ Soft shared[ROOM];
  Position at(positions, P, C, length, lanes, columns);
  x += at.start(xs);

  Soft a = Soft::none();
  if (pieces)
    a = over_pieces(at, pieces, count, positions, shared);
  else if (smooth)
    a = over_classes<Soft>(at, shared, [=](int c) { return Weighed{wide(x[c * xs.c]), w ? smooth * w[c] : smooth}; });
  else
    a.s = over_classes<Sum>(at, (Sum*)shared, [=](int c) { return wide(x[c * xs.c]); });
  if (!at.there || at.lane) return;
  if (piece) {
    ((Soft*)piece)[blockIdx.y * (i64)positions + at.r] = a;
    return;
  }

  A log_sum = log_of(a.s);
  i64 own = t[at.r];
  bool counts = own != ignored, exists = own >= 0 && own < C;
  A heavy = !counts ? A(0) : !exists ? infinity() - infinity() : w ? w[own] : A(1);
  A logp = counts && exists ? wide(x[own * xs.c]) - a.s.top - log_sum : A(0);
  weight[at.r] = heavy;
  loss[at.r] = counts ? a.q * log_sum - a.qx - keep * heavy * logp : A(0);
  kept[2 * at.r] = a.s.top;
  kept[2 * at.r + 1] = log_sum;
}

extern "C" __global__ void cross_entropy_back(
    const T* __restrict__ x, Strides xs, const A* __restrict__ kept, const i64* __restrict__ t, const A* __restrict__ w,
    const A* __restrict__ a, const A* __restrict__ s, const A* __restrict__ total,
    T* __restrict__ dx, Strides ds, int positions, int C, int P, int length, int lanes, int columns) {
  Position at(positions, P, C, length, lanes, columns);
  if (!at.there) return;
  x += at.start(xs);
  dx += at.start(ds);
  A top = kept[2 * at.r], log_sum = kept[2 * at.r + 1], all = total[at.r], each = s ? s[at.r] : A(0), part = a[at.r];
  i64 own = t[at.r];
  each_class(at, [=](int c) {
    A d = exp(wide(x[c * xs.c]) - top - log_sum) * all - (c == own ? part : A(0));
    if (s) d -= each * (w ? w[c] : A(1));
    narrow(d, dx[c * ds.c]);
  });
}

__device__ __forceinline__ A wanted(T t, const A* w, int c, A keep, A smooth) {
  return (wide(t) * keep + smooth) * (w ? w[c] : A(1));
}

extern "C" __global__ void soft_cross_entropy(
    const T* __restrict__ x, Strides xs, const T* __restrict__ t, Strides ts, const A* __restrict__ w,
    const A* __restrict__ pieces, A* __restrict__ piece,
    A* __restrict__ loss, A* __restrict__ kept,  // kept: maximum, log(sum), and sum(q) of the rows
    int positions, int C, int P, int length, int count, int lanes, int columns, A keep, A smooth) {
  __shared__ Soft shared[ROOM];
  Position at(positions, P, C, length, lanes, columns);
  x += at.start(xs);
  t += at.start(ts);
  Soft a = pieces ? over_pieces(at, pieces, count, positions, shared) : over_classes<Soft>(at, shared, [=](int c) {
    return Weighed{wide(x[c * xs.c]), wanted(t[c * ts.c], w, c, keep, smooth)};
  });
  if (!at.there || at.lane) return;
  if (piece) {
    ((Soft*)piece)[blockIdx.y * (i64)positions + at.r] = a;
    return;
  }
  A log_sum = log_of(a.s);
  loss[at.r] = a.q * log_sum - a.qx;
  kept[3 * at.r] = a.s.top;
  kept[3 * at.r + 1] = log_sum;
  kept[3 * at.r + 2] = a.q;
}

extern "C" __global__ void soft_cross_entropy_back(
    const T* __restrict__ x, Strides xs, const T* __restrict__ t, Strides ts, const A* __restrict__ w,
    const A* __restrict__ kept, const A* __restrict__ a,
    T* __restrict__ dx, Strides ds, int positions, int C, int P, int length, int lanes, int columns, A keep, A smooth) {
  Position at(positions, P, C, length, lanes, columns);
  if (!at.there) return;
  x += at.start(xs);
  t += at.start(ts);
  dx += at.start(ds);
  A top = kept[3 * at.r], log_sum = kept[3 * at.r + 1], q = kept[3 * at.r + 2], part = a[at.r];
  each_class(at, [=](int c) {
    narrow(part * (exp(wide(x[c * xs.c]) - top - log_sum) * q - wanted(t[c * ts.c], w, c, keep, smooth)), dx[c * ds.c]);
  });
}
