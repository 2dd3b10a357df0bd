// Softmax and cross-entropy in one: the probabilities are never written to memory.
//
// MATH      loss[r] = -w[t] logp[t] (1 - e) - e / C sum over c of w[c] logp[c],   logp[c] = x[c] - log(sum of exp(x))
//           for every position r of a batch, with e the label smoothing; 0 where t[r] is ignored.
// BACKWARD  dx[c] = exp(logp[c]) total - s w[c] - (c == t ? a : 0), with a, s and total = a + s sum(w) of each row given:
//           what the mean, the weights and the gradient of the loss make of it (Losses.cross_entropy_back).
// TILING    a block for every row; its threads walk along the classes, blockDim.x apart.
//
//               x[r]   0 1 2 3 | 0 1 2 3 | 0 1 2 3 | 0 1        each thread: (maximum, sum of exp(x - maximum))
//                              shuffles                         each warp, in five steps
//                              shared memory                    the block: every warp reads what all of them found
//
// COST      forward C numbers read once, 8 bytes written a row; backward C read, C written. Bound by memory: float32,
//           100,000 classes, 512 rows: 205 MB forward, 410 MB back.
// EDGES     any C; x in any memory order with the classes at a stride, so that channels-last images are read in lines.
//           Stable at any height: what is kept of a row is its maximum and log(sum) apart, not their sum, whose last
//           place at 1e4 is a thousandth. A row of -inf, and one with NaN or +inf, gives NaN, as its definition does; so
//           does a class that does not exist.
// MEASURED  not yet on a GPU. Expected: 0.8 of the memory's bandwidth for rows of a few thousand classes or more.
// SOURCE    M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018.
// SPEC      Losses.cross_entropy and cross_entropy_back (tinygrad_fast/backend/losses.py).
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
