// Softmax and cross-entropy in one: the probabilities are never written to memory.
//
// MATH      loss[r] = -w[t] logp[t] (1 - e) - e / C sum over c of w[c] logp[c],   logp[c] = x[c] - log(sum of exp(x))
//           for every position r of a batch, with e the label smoothing; 0 where t[r] is ignored.
//           soft_: t[r, c] are probabilities, loss[r] = -sum over c of q[c] logp[c],   q[c] = w[c] ((1 - e) t[c] + e /
//           C)
// BACKWARD  dx[c] = exp(logp[c]) total - s w[c] - (c == t ? a : 0), with a, s and total = a + s sum(w) of each row
//           given: what the mean, the weights and the gradient of the loss make of it (Losses.cross_entropy_back).
//           soft_: dx[c] = a (exp(logp[c]) sum(q) - q[c]), a the row's part of g.
// TILING    a block for every row; its threads walk along the classes, blockDim.x apart.
//
//               x[r]   0 1 2 3 | 0 1 2 3 | 0 1 2 3 | 0 1        each thread: (maximum, sum of exp(x - maximum)); soft_:
//                                                               also sum of q and of q (x - maximum)
//                              shuffles                         each warp, in five steps
//                              shared memory                    the block: every warp reads what all of them found
//
// COST      forward C numbers read once (soft_: twice C; with label smoothing each row again, from the cache), 8 bytes written a row; backward as much, and C written. Bound
//           by memory: float32, 100,000 classes, 512 rows: 205 MB forward, 410 MB back.
// EDGES     any C; x in any memory order with the classes at a stride, so that channels-last images are read in lines.
//           Stable at any height: what is kept of a row is its maximum and log(sum) apart, not their sum, whose last
//           place at 1e4 is a thousandth. A row of -inf, and one with NaN or +inf, gives NaN, as its definition does;
//           so does a class that does not exist.
// MEASURED  not yet on a GPU. Expected: 0.8 of the memory's bandwidth for rows of a few thousand classes or more.
// SOURCE    M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018.
// SPEC      Losses.cross_entropy, soft_cross_entropy and each _back (tinygrad_fast/backend/losses.py).
#include "online_softmax.cuh"

// Where the classes of row r start: positions are n outside, p inside, as in (N, C, P).
__device__ __forceinline__ i64 start(int r, int P, i64 xn, i64 xp) { return r / P * xn + r % P * xp; }

extern "C" __global__ void cross_entropy(
    const T* __restrict__ x, long long xn, long long xc, long long xp,  // x[n, c, p] is x[n xn + c xc + p xp]
    const i64* __restrict__ t, const A* __restrict__ w,                 // classes of the rows; weights of the classes
    A* __restrict__ loss, A* __restrict__ weight, A* __restrict__ kept, // of the rows; kept: maximum and log(sum)
    int C, int P, A smoothing, long long ignored) {
  __shared__ Sum sums[32];
  __shared__ Total smooths[32];
  int r = blockIdx.x;
  x += start(r, P, xn, xp);
  Lanes at(blockDim.x, false);

  Sum s = together(found<Sum>(at.lane, C, at.lanes, [=](int c) { return wide(x[c * xc]); }), at, sums);
  A log_sum = log(s.sum);

  A smooth = 0;
  if (smoothing)  // the row once more, from a cache: it is known now what to subtract
    smooth = together(found<Total>(at.lane, C, at.lanes, [=](int c) {
      return (w ? w[c] : 1) * (wide(x[c * xc]) - s.top - log_sum);
    }), at, smooths).sum;
  if (threadIdx.x) return;
  i64 own = t[r];
  bool counts = own != ignored, exists = own >= 0 && own < C;
  A heavy = !counts ? A(0) : !exists ? infinity() - infinity() : w ? w[own] : A(1);
  A logp = counts && exists ? wide(x[own * xc]) - s.top - log_sum : A(0);
  weight[r] = heavy;
  loss[r] = counts ? -heavy * logp * (1 - smoothing) - smoothing / C * smooth : A(0);
  kept[2 * r] = s.top;
  kept[2 * r + 1] = log_sum;
}

extern "C" __global__ void cross_entropy_back(
    const T* __restrict__ x, long long xn, long long xc, long long xp, const A* __restrict__ kept,
    const i64* __restrict__ t, const A* __restrict__ w, const A* __restrict__ a, const A* __restrict__ s,
    const A* __restrict__ total, T* __restrict__ dx, long long dn, long long dc, long long dp, int C, int P) {
  int r = blockIdx.x;
  x += start(r, P, xn, xp);
  dx += start(r, P, dn, dp);
  A top = kept[2 * r], log_sum = kept[2 * r + 1], all = total[r], each = s ? s[r] : A(0), own = a[r];
  i64 at = t[r];
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    A d = exp(wide(x[c * xc]) - top - log_sum) * all - (c == at ? own : A(0));
    if (s) d -= each * (w ? w[c] : A(1));
    narrow(d, dx[c * dc]);
  }
}

// With probabilities: -sum(q logp) = log_sum sum(q) - sum(q (x - top)), so one walk along the row finds all of it.
struct Soft { Sum s; A q, qx; };  // qx: of q (x - s.top)

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

__device__ __forceinline__ A wanted(T t, const A* w, int c, A keep, A smooth) {  // keep: 1 - e, smooth: e / C
  return (wide(t) * keep + smooth) * (w ? w[c] : A(1));
}

extern "C" __global__ void soft_cross_entropy(
    const T* __restrict__ x, long long xn, long long xc, long long xp,
    const T* __restrict__ t, long long tn, long long tc, long long tp, const A* __restrict__ w,
    A* __restrict__ loss, A* __restrict__ kept,  // kept: maximum, log(sum), and sum(q) of the rows
    int C, int P, A keep, A smooth) {
  __shared__ Soft softs[32];
  int r = blockIdx.x;
  x += start(r, P, xn, xp);
  t += start(r, P, tn, tp);

  Soft a = {{-infinity(), 0}, 0, 0};
  for (int c = threadIdx.x; c < C; c += blockDim.x)
    a = both(a, {{wide(x[c * xc]), 1}, wanted(t[c * tc], w, c, keep, smooth), 0});
  a = together(a, Lanes(blockDim.x, false), softs);
  if (threadIdx.x) return;
  A log_sum = log(a.s.sum);
  loss[r] = a.q * log_sum - a.qx + (a.s.top - a.s.top);  // NaN where the maximum is not finite
  kept[3 * r] = a.s.top;
  kept[3 * r + 1] = log_sum;
  kept[3 * r + 2] = a.q;
}

extern "C" __global__ void soft_cross_entropy_back(
    const T* __restrict__ x, long long xn, long long xc, long long xp,
    const T* __restrict__ t, long long tn, long long tc, long long tp, const A* __restrict__ w,
    const A* __restrict__ kept, const A* __restrict__ a,
    T* __restrict__ dx, long long dn, long long dc, long long dp, int C, int P, A keep, A smooth) {
  int r = blockIdx.x;
  x += start(r, P, xn, xp);
  t += start(r, P, tn, tp);
  dx += start(r, P, dn, dp);
  A top = kept[3 * r], log_sum = kept[3 * r + 1], q = kept[3 * r + 2], part = a[r];
  for (int c = threadIdx.x; c < C; c += blockDim.x)
    narrow(part * (exp(wide(x[c * xc]) - top - log_sum) * q - wanted(t[c * tc], w, c, keep, smooth)), dx[c * dc]);
}
