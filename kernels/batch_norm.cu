// Batch norm and group norm: statistics of many numbers, then one line of arithmetic for each of them.
//
// MATH      y = relu?((x - mean) rstd w + b + res),   rstd = 1 / sqrt(var + eps),   w and b one for each channel
//           mean and var (biased) of a channel over all samples and pixels (batch norm), or given (its evaluation
//           form), or of a few neighbouring channels of one sample (group norm; one channel: instance norm).
// BACKWARD  with h = g where y > 0, d = x - mean, and means over the numbers of a statistic:
//           dx = rstd (w h - mean(w h) - d rstd^2 mean(w h d)),   dw = sum h d rstd,   db = sum h,   dres = h
//           With given statistics dx = rstd w h.
//           Without a residual the sign of y follows from x, mean, rstd, w and b: y need not be read, nor kept.
// TILING    A column is what has one w and, of one sample or of all, one mean. A block takes neighbouring columns and a
//           part of their numbers. A thread reads 16 bytes, V numbers, at a time. Which way a column lies in memory is
//           -DLAST, and is all that differs:
//
//           LAST=1, channels-last         C ->                LAST=0, a channel's pixels together   P ->
//                            +----+----+----+----+                             +-------------------------------+
//             rows    block  | V  | V  | V  | V  |  lane 0              block  | V  V  V  V  ...        lane   |
//             N P     of     | V  | V  | V  | V  |       1              of     +-------------------------------+
//              |      256    |      result       |      ..              256    |  (n, c)               result  |
//              v             +----+----+----+----+                             +-------------------------------+
//             a thread has V columns, found down the block          a thread has one column, found along the line
//
//           1. batch_norm_moments      each block: count, mean, squares of its columns     x read
//           2. batch_norm_statistics   puts the parts of each mean and var together
//           3. batch_norm              y                                                   x, res read, y written
//              batch_norm_remember_    moves the running mean and var, where there are any
//           and back
//           1. batch_norm_sums         each block: sum h, sum h d     g, x read; for a residual y too, and h written
//           2. batch_norm_slopes       a warp for each dw and db, and each mean(w h) and mean(w h d)
//           3. batch_norm_back         dx                                                  h, x read, dx written
//           The third step walks its part from the end: what the first has read last is still in a cache.
//           Behind a convolution the first step forward is left out: its parts come from conv2d_moments.cu.
// COST      Bytes are all that counts: a dozen flop an element each. In passes over memory, each N C P elements:
//             forward     2 read, 1 written; behind a convolution, or in evaluation, 1 and 1; a residual 1 more read
//             backward    4 read, 1 written, with ReLU or without. With ReLU and a residual 5 read, 2 written: h is
//                         dres, and read again in place of g and y.
//                         Evaluation: one pass, 2 read and 1 written; with ReLU and a residual 3 and 2.
//           float16, 512 x 64 x 32 x 32: 201 MB forward, 336 MB back.
// EDGES     Any C, N, P; 16 bytes are read in one piece where the channels (LAST=0: pixels) are a multiple of V, else
//           number by number. Large means cost var no digits (moments.cuh); the mean itself is rounded to float32, and
//           y by as much times rstd. What threads and blocks find is put together always in the same order, by the
//           formula of Chan: sums do not depend on the GPU.
// MEASURED  not yet on a GPU. Expected: 0.85 of the memory's bandwidth where an activation is larger than the cache;
//           below a few MB what counts is three launches, some 3 us each.
// SOURCE    T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample variance", 1983; S. Ioffe, C. Szegedy,
//           "Batch Normalization", 2015; Y. Wu, K. He, "Group Normalization", 2018.
// SPEC      Norms.batch_norm, batch_norm_eval, group_norm and their _back (tinygrad_fast/backend/norms.py).
#include "moments.cuh"
#include "packs.cuh"

struct Shape {
  int C;        // channels
  int length;   // numbers in a line of memory: C, or P
  int units;    // what threads walk along: LAST the rows of a sample, else the packs of all lines of a column
  int step;     // units of a block
  int columns;  // in all
  int group;    // so many neighbouring columns have one mean and var: the channels of a group norm's group
  int lanes;    // threads that share a column: LAST columns, else rows of lanes.cuh
};

const int SLOTS = LAST ? V : 1;  // columns of a thread

// __launch_bounds__(256, 2), below: two blocks fit; with (256) ptxas aims at more where threads keep much, and spills.

// What a thread is responsible for: units from `first` on, `lanes` apart, of the block's from `begin` to `end`.
struct Share : Lanes {
  int begin, end, first;
  i64 line;           // of memory, the first
  int pack;           // LAST: of each line
  int column, count;  // the first of its SLOTS columns, and how many are there

  __device__ __forceinline__ Share(const Shape& s) : Lanes(s.lanes, LAST) {
    begin = blockIdx.y * s.step;
    end = min(begin + s.step, s.units);
    first = begin + lane;
    if (LAST) {
      int packs = (s.length + V - 1) / V, slabs = (packs + results - 1) / results, sample = blockIdx.x / slabs;
      pack = blockIdx.x % slabs * results + result;
      line = (i64)sample * s.units;
      column = sample * s.C + pack * V;
      count = min(s.C - pack * V, V);
    } else {
      pack = 0;
      line = column = blockIdx.x * results + result;
      count = column < s.columns;
    }
  }
};

// Where a unit is: its first number, and how many of V are there.
struct Place { i64 offset; int inside; };

__device__ __forceinline__ Place place(const Shape& s, const Share& mine, int u) {
  int packs = (s.length + V - 1) / V, pack = LAST ? mine.pack : u % packs;
  i64 line = mine.line + (LAST ? u : (i64)(u / packs) * s.columns);
  bool there = u < mine.end && mine.count > 0;
  return {line * s.length + pack * V, there ? min(s.length - pack * V, V) : 0};
}

// What the lanes of a column found, put together and left for the next launch: parts[part][column].
template <class S>
__device__ __forceinline__ void leave(S (&s)[SLOTS], const Share& mine, const Shape& shape, A* parts) {
  __shared__ S found[SLOTS][LAST ? ROOM : 8];
#pragma unroll
  for (int j = 0; j < SLOTS; j++) s[j] = together(s[j], mine, found[j], false);
  if (mine.lane) return;
  S* part = (S*)parts + (i64)blockIdx.y * shape.columns + mine.column;
#pragma unroll
  for (int j = 0; j < SLOTS; j++)
    if (j < mine.count) part[j] = s[j];
}

extern "C" __global__ void __launch_bounds__(256, 2) batch_norm_moments(
    const T* __restrict__ x, A* __restrict__ parts, Shape shape) {  // parts[part][column]: Part
  const int U = 4;                                                  // so many reads under way: there is no second array
  Share mine(shape);
  A n = 0, first[SLOTS], sum[SLOTS] = {}, squares[SLOTS] = {};
  Place at = place(shape, mine, mine.first);
  Pack<T> pack = load(x + at.offset, at.inside);
#pragma unroll
  for (int s = 0; s < SLOTS; s++) first[s] = wide(pack.at[s]);
  for (int u = mine.first; u < mine.end; u += U * mine.lanes) {
    Pack<T> packs[U];
    int inside[U];
#pragma unroll
    for (int k = 0; k < U; k++) {
      at = place(shape, mine, u + k * mine.lanes);
      packs[k] = load(x + at.offset, inside[k] = at.inside);
      n += LAST ? at.inside > 0 : at.inside;
    }
#pragma unroll
    for (int i = 0; i < U * V; i++) {
      int s = i % SLOTS;
      A d = i % V < inside[i / V] ? wide(packs[i / V].at[i % V]) - first[s] : A(0);
      sum[s] += d;
      squares[s] += d * d;
    }
  }
  Part all[SLOTS];
#pragma unroll
  for (int s = 0; s < SLOTS; s++) all[s] = part(n, first[s], sum[s], squares[s]);
  leave(all, mine, shape, parts);
}

// Every mean and var: of the `count` parts of `group` neighbouring columns. neighbours: threads side by side take
// neighbouring results, and read whole lines of a part (`columns` of lanes.cuh); else they share a result.
extern "C" __global__ void __launch_bounds__(1024) batch_norm_statistics(
    const A* __restrict__ parts, A* __restrict__ mean, A* __restrict__ var,
    int count, int columns, int group, int lanes, int neighbours) {
  __shared__ Part shared[ROOM];
  const int U = 16 / sizeof(A);  // so many reads under way
  Lanes at(lanes, neighbours);
  int i = blockIdx.x * at.results + at.result;
  int end = i < columns / group ? count * group : 0;  // without any, with the others to the barrier
  Part s = {};
  for (int e = at.lane; e < end; e += U * at.lanes) {
    Part more[U] = {};
#pragma unroll
    for (int k = 0; k < U; k++) {
      int f = e + k * at.lanes;
      if (f < end) more[k] = ((const Part*)parts)[(i64)(f / group) * columns + (i64)i * group + f % group];
    }
#pragma unroll
    for (int k = 0; k < U; k++) s = both(s, more[k]);
  }
  s = together(s, at, shared, false);
  if (at.lane || !end) return;
  mean[i] = s.origin + s.about.mean;
  var[i] = s.about.squares / s.about.n;
}

// running <- (1 - momentum) running + momentum new; factor: n / (n - 1), so that var is remembered unbiased.
extern "C" __global__ void __launch_bounds__(256) batch_norm_remember_(
    T* __restrict__ running_mean_, T* __restrict__ running_var_, const A* __restrict__ mean, const A* __restrict__ var,
    A momentum, A factor, int C) {
  int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= C) return;
  narrow((1 - momentum) * wide(running_mean_[c]) + momentum * mean[c], running_mean_[c]);
  narrow((1 - momentum) * wide(running_var_[c]) + momentum * factor * var[c], running_var_[c]);
}

// y before a residual and ReLU: one sum and one multiplication that is rounded with the next sum, whatever the compiler
// likes best, so that the way back finds the same bits.
__device__ __forceinline__ A scaled(T x, A middle, A scale, A shift) { return fma(wide(x) - middle, scale, shift); }

// Whether ReLU let it through: y > 0, rounded as y was.
__device__ __forceinline__ bool positive(T x, A middle, A scale, A shift) {
  T y;
  narrow(scaled(x, middle, scale, shift), y);
  return wide(y) > 0;
}

extern "C" __global__ void __launch_bounds__(256) batch_norm(
    const T* __restrict__ x, const T* __restrict__ res, const A* __restrict__ mean, const A* __restrict__ var,
    const A* __restrict__ w, const A* __restrict__ b, T* __restrict__ y, A* __restrict__ rstd, A eps, int relu,
    Shape shape) {
  Share mine(shape);
  A middle[SLOTS] = {}, scale[SLOTS] = {}, shift[SLOTS] = {};
#pragma unroll
  for (int s = 0; s < SLOTS; s++) {
    if (s >= mine.count) break;
    int column = mine.column + s, i = column / shape.group, c = column % shape.C;
    A r = 1 / sqrt(var[i] + eps);
    if (blockIdx.y == 0 && mine.lane == 0 && column % shape.group == 0) rstd[i] = r;
    middle[s] = mean[i];
    scale[s] = w ? r * w[c] : r;
    shift[s] = b ? b[c] : A(0);
  }
  for (int u = mine.first; u < mine.end; u += mine.lanes) {
    Place at = place(shape, mine, mine.begin + mine.end - 1 - u);
    Pack<T> xs = load(x + at.offset, at.inside), more;
    if (res) more = load(res + at.offset, at.inside);
#pragma unroll
    for (int j = 0; j < V; j++) {
      int s = j % SLOTS;
      A v = scaled(xs.at[j], middle[s], scale[s], shift[s]);
      if (res) v += wide(more.at[j]);
      narrow(relu && v < 0 ? A(0) : v, xs.at[j]);
    }
    store(xs, y + at.offset, at.inside);
  }
}

extern "C" __global__ void __launch_bounds__(256, 2) batch_norm_sums(
    const T* __restrict__ g, const T* __restrict__ x, const T* __restrict__ y,  // y: what ReLU let through, or null
    const A* __restrict__ mean, const A* __restrict__ rstd, const A* __restrict__ w, const A* __restrict__ b,
    A* __restrict__ parts,                                                      // parts[part][column]: sum h, sum h d
    T* __restrict__ h, T* __restrict__ dx,                                      // dx = rstd w h: given statistics
    int relu, Shape shape) {
  Share mine(shape);
  A middle[SLOTS] = {}, scale[SLOTS] = {}, shift[SLOTS] = {};
#pragma unroll
  for (int s = 0; s < SLOTS; s++) {
    if (s >= mine.count) break;
    int column = mine.column + s, i = column / shape.group, c = column % shape.C;
    middle[s] = mean[i];
    scale[s] = w ? rstd[i] * w[c] : rstd[i];
    shift[s] = b ? b[c] : A(0);
  }
  Sums all[SLOTS] = {};
  for (int u = mine.first; u < mine.end; u += mine.lanes) {
    Place at = place(shape, mine, u);
    Pack<T> hs = load(g + at.offset, at.inside), xs = load(x + at.offset, at.inside), ys;
    if (y) ys = load(y + at.offset, at.inside);
#pragma unroll
    for (int j = 0; j < V; j++) {
      int s = j % SLOTS;
      if (relu && !(y ? wide(ys.at[j]) > 0 : positive(xs.at[j], middle[s], scale[s], shift[s])))
        narrow(A(0), hs.at[j]);
      A v = wide(hs.at[j]);
      all[s] = both(all[s], {v, v * (wide(xs.at[j]) - middle[s])});
      if (dx) narrow(v * scale[s], xs.at[j]);
    }
    if (h) store(hs, h + at.offset, at.inside);
    if (dx) store(xs, dx + at.offset, at.inside);
  }
  leave(all, mine, shape, parts);
}

extern "C" __global__ void __launch_bounds__(256) batch_norm_slopes(
    const A* __restrict__ parts, const A* __restrict__ w, const A* __restrict__ rstd,
    A* __restrict__ dw, A* __restrict__ db,                                 // of the channels
    A* __restrict__ mean_wh, A* __restrict__ mean_whd,                      // mean(w h) and mean(w h d), or null
    A n, int count, Shape shape) {                                          // over n numbers; count of parts
  Lanes at(32, false);
  int i = blockIdx.x * at.results + at.result;
  bool of_channel = i < shape.C;
  if (!of_channel) i -= shape.C;
  if (!of_channel && (!mean_wh || i >= shape.columns / shape.group)) return;
  int columns = of_channel ? shape.columns / shape.C : shape.group;         // of it: C apart, or neighbours
  Sums s = {};
  for (int e = at.lane; e < count * columns; e += at.lanes) {
    int column = of_channel ? e % columns * shape.C + i : i * columns + e % columns;
    Sums part = ((const Sums*)parts)[(i64)(e / columns) * shape.columns + column];
    A weight = w && !of_channel ? w[column % shape.C] : A(1), scale = of_channel ? rstd[column / shape.group] : weight;
    s = both(s, {part.g * weight, part.gd * scale});
  }
  s = together(s, at);
  if (at.lane) return;
  if (of_channel) {
    db[i] = s.g;
    dw[i] = s.gd;
  } else {
    mean_wh[i] = s.g / n;
    mean_whd[i] = s.gd / n;
  }
}

extern "C" __global__ void __launch_bounds__(256) batch_norm_back(
    const T* __restrict__ h, const T* __restrict__ x,                       // relu: g in place of h
    const A* __restrict__ mean, const A* __restrict__ rstd, const A* __restrict__ w, const A* __restrict__ b,
    const A* __restrict__ mean_wh, const A* __restrict__ mean_whd, T* __restrict__ dx, int relu, Shape shape) {
  Share mine(shape);
  A middle[SLOTS] = {}, scale[SLOTS] = {}, shift[SLOTS] = {}, level[SLOTS] = {}, slope[SLOTS] = {};
#pragma unroll
  for (int s = 0; s < SLOTS; s++) {
    if (s >= mine.count) break;
    int column = mine.column + s, i = column / shape.group, c = column % shape.C;
    A r = rstd[i];
    middle[s] = mean[i];
    scale[s] = w ? r * w[c] : r;
    shift[s] = b ? b[c] : A(0);
    level[s] = r * mean_wh[i];
    slope[s] = r * r * r * mean_whd[i];
  }
  for (int u = mine.first; u < mine.end; u += mine.lanes) {
    Place at = place(shape, mine, mine.begin + mine.end - 1 - u);
    Pack<T> hs = load(h + at.offset, at.inside), xs = load(x + at.offset, at.inside);
#pragma unroll
    for (int j = 0; j < V; j++) {
      int s = j % SLOTS;
      A v = relu && !positive(xs.at[j], middle[s], scale[s], shift[s]) ? A(0) : wide(hs.at[j]);
      narrow(v * scale[s] - level[s] - (wide(xs.at[j]) - middle[s]) * slope[s], xs.at[j]);
    }
    store(xs, dx + at.offset, at.inside);
  }
}
