// Binary cross-entropy of logits, element by element: the loss, or its sum, and the gradient.
//
// MATH      y = w (p t softplus(-x) + (1 - t) softplus(x)),   softplus(z) = max(z, 0) + log(1 + exp(-|z|))
//           w weighs an element, p what is positive. One number of either may be for several elements: number
//           i / each % count is for element i. With x (N, C), each = 1 and count = C is a number for each column,
//           each = C and count = N one for each row.
// BACKWARD  dx = share g w ((1 - t) sigmoid(x) - p t sigmoid(-x));   share is 1 / n for "mean", and g then one number
// TILING    a thread takes V neighbours, 16 bytes of each array (packs.cuh), and further ones a grid apart:
//
//               x   | 0 0 0 0 | 1 1 1 1 | .. | 255 ..255 | 256 ..         by thread, V = 4
//
//           For "sum" and "mean" it adds up the losses that it meets instead of writing them, and a block writes the
//           sum of its threads' (lanes.cuh), at most 1024 in all, of which reduce.cu makes one.
// COST      float32: 8 bytes an element forward, 4 more where losses are written; 12 back, 4 more where g is an array;
//           half of all that with 16 bits. w and p: 4 more each where they are as large as x.
//           Instructions an element on sm_90: forward 51, back 38; w or p that repeat some 12 more each.
// EDGES     any number of elements, aligned or not. Stable at any height: exp(-|x|) never overflows, and both
//           logarithms and both sigmoids come from it without a difference of near numbers. A sum has one order: the
//           grid depends on n alone.
// MEASURED  not yet on a GPU. Expected on an H100 (3.35 TB/s; 2.9e13 instructions of a thread a second, so 35 in the
//           time of 4 bytes), as shares of the memory's bandwidth: float32 0.85, forward and back; 16 bits 0.65
//           forward, bound by instructions, and 0.85 back. 512 x 10 elements: 3 us a launch, forward two of them.
// SOURCE    the definition.
// SPEC      Losses.binary_cross_entropy_with_logits and its _back (tinygrad_fast/backend/losses.py).
#include "lanes.cuh"
#include "packs.cuh"

__device__ __forceinline__ A positive(A z) { return z > 0 ? z : A(0); }

__device__ __forceinline__ A loss(A x, A t, A w, A p) {
  A rest = log1p(exp(x > 0 ? -x : x));
  return w * (p * t * (positive(-x) + rest) + (1 - t) * (positive(x) + rest));
}

__device__ __forceinline__ A slope(A x, A t, A w, A p) {
  A e = exp(x > 0 ? -x : x), high = 1 / (1 + e), low = e * high;  // sigmoid(|x|), sigmoid(-|x|)
  return w * ((1 - t) * (x > 0 ? high : low) - p * t * (x > 0 ? low : high));
}

struct Repeats { i64 each, count; };

// The numbers of elements i, .. i + inside - 1: 1 where there are none.
__device__ __forceinline__ void repeated(const T* numbers, Repeats r, i64 i, int inside, A (&v)[V]) {
  if (!numbers || r.count == 1) {
    A same = numbers ? wide(*numbers) : A(1);
#pragma unroll
    for (int j = 0; j < V; j++) v[j] = same;
    return;
  }
  i64 k = i / r.each % r.count, met = i % r.each;
  if (r.each == 1 && k + inside <= r.count) {
    Pack<T> pack = load(numbers + k, inside);
#pragma unroll
    for (int j = 0; j < V; j++) v[j] = wide(pack.at[j]);
    return;
  }
#pragma unroll
  for (int j = 0; j < V; j++) {
    v[j] = wide(numbers[k]);  // also of elements that are not there: some number
    if (++met == r.each) met = 0, k = k + 1 < r.count ? k + 1 : 0;
  }
}

// `work` on the elements of a thread, V at a time: work(i, inside) on i, .. i + inside - 1.
template <class Work> __device__ __forceinline__ void each_pack(i64 n, Work work) {
  i64 i = V * (blockIdx.x * (i64)blockDim.x + threadIdx.x), step = V * (i64)gridDim.x * blockDim.x;
  for (; i < n; i += step) work(i, n - i < V ? (int)(n - i) : V);
}

extern "C" __global__ void binary_cross_entropy_with_logits(
    const T* __restrict__ x, const T* __restrict__ t, const T* __restrict__ w, Repeats ws, const T* __restrict__ p,
    Repeats ps, T* __restrict__ y, A* __restrict__ sums, i64 n) {  // y of the elements, or sums of the blocks
  A sum = 0;
  each_pack(n, [&](i64 i, int inside) {
    Pack<T> xs = load(x + i, inside), ts = load(t + i, inside);
    A heavy[V], yes[V];
    repeated(w, ws, i, inside, heavy);
    repeated(p, ps, i, inside, yes);
#pragma unroll
    for (int j = 0; j < V; j++) {
      A one = loss(wide(xs.at[j]), wide(ts.at[j]), heavy[j], yes[j]);
      if (j < inside) sum += one;
      narrow(one, xs.at[j]);
    }
    if (y) store(xs, y + i, inside);
  });
  if (!sums) return;
  __shared__ Total shared[32];
  Total all = together(Total{sum}, Lanes(blockDim.x, false), shared, false);
  if (threadIdx.x == 0) sums[blockIdx.x] = all.sum;
}

extern "C" __global__ void binary_cross_entropy_with_logits_back(
    const T* __restrict__ g, Repeats gs, const T* __restrict__ x, const T* __restrict__ t, const T* __restrict__ w,
    Repeats ws, const T* __restrict__ p, Repeats ps, T* __restrict__ dx, A share, i64 n) {
  each_pack(n, [&](i64 i, int inside) {
    Pack<T> xs = load(x + i, inside), ts = load(t + i, inside);
    A all[V], heavy[V], yes[V];
    repeated(g, gs, i, inside, all);
    repeated(w, ws, i, inside, heavy);
    repeated(p, ps, i, inside, yes);
#pragma unroll
    for (int j = 0; j < V; j++)
      narrow(share * all[j] * slope(wide(xs.at[j]), wide(ts.at[j]), heavy[j], yes[j]), xs.at[j]);
    store(xs, dx + i, inside);
  });
}
