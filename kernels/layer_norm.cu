// Layer norm: each row by its own mean and variance.
//
// MATH      y[r, i] = xhat[r, i] w[i] + b[i],   xhat = (x - mean[r]) rstd[r],   rstd = 1 / sqrt(var + eps), var biased
// BACKWARD  dx = rstd (h - mean(h) - xhat mean(h xhat)), h = g w, means over a row;
//           dw[i] = sum over r of g xhat,   db[i] = sum over r of g
// TILING    the lanes of a row (lanes.cuh) take V numbers each at a time; a block takes several rows at once. Where the
//           V of every lane cover a row, a thread has the same columns of each row it meets, and gathers their dw and
//           db in registers on the way:
//
//                  i ->  lane 0   1   2   3
//              r         | V | V | V | V |     1. sums along the row: h and h xhat  ->  dx
//              |         | V | V | V | V |     2. and down the rows: g xhat and g, which are put together at the end,
//              v                                  in the block by its first row, then by layer_norm_parameters
//
//           Longer rows are read by a block in several steps, and dw and db by a kernel of their own.
// COST      in passes over memory, each R L elements: forward 1 read, 1 written (the row is read again from a cache);
//           backward 2 read, 1 written, and where a row is longer than 512 V another 2 read.
//           float16, 8192 x 1024: 34 MB forward, 50 MB back.
// EDGES     Any R and L; 16 bytes are read in one piece where L is a multiple of V, else number by number. Large means
//           cost no digits, and sums are always in the same order (moments.cuh).
// MEASURED  not yet on a GPU. Expected: 0.85 of the memory's bandwidth for rows of 256 bytes or more.
// SOURCE    J. Ba, J. Kiros, G. Hinton, "Layer Normalization", 2016.
// SPEC      Norms.layer_norm and layer_norm_back (tinygrad_fast/backend/norms.py).
#include "moments.cuh"
#include "packs.cuh"

// w[i], .. for V columns, or `none` where there is no w.
__device__ __forceinline__ void parameters(const A* w, int i, int count, A none, A (&v)[V]) {
  const int each = 16 / sizeof(A);
  bool whole = w && count == V && (size_t)(w + i) % 16 == 0;
#pragma unroll
  for (int j = 0; j < V; j += each) {
    Pack<A> some;
    if (whole) some = *(const Pack<A>*)(w + i + j);
#pragma unroll
    for (int k = 0; k < each; k++) v[j + k] = whole ? some.at[k] : w && j + k < count ? w[i + j + k] : none;
  }
}

extern "C" __global__ void __launch_bounds__(256) layer_norm(
    const T* __restrict__ x, const A* __restrict__ w, const A* __restrict__ b, T* __restrict__ y, A* __restrict__ mean,
    A* __restrict__ rstd, int R, int L, A eps, int lanes) {
  __shared__ Moments shared[8];
  Lanes at(lanes, false);
  int r = blockIdx.x * at.results + at.result, step = V * at.lanes;
  if (r >= R) L = 0;  // with the others to the barrier
  x += (i64)r * L;
  y += (i64)r * L;
  A n = 0, sum = 0, squares = 0, origin = L ? wide(x[0]) : A(0), first = 0;
  if (V * at.lane < L) first = wide(x[V * at.lane]);
  for (int i = V * at.lane; i < L; i += step) {
    int count = min(L - i, V);
    Pack<T> pack = load(x + i, count);
#pragma unroll
    for (int j = 0; j < V; j++) {
      A d = j < count ? wide(pack.at[j]) - first : A(0);
      sum += d;
      squares += d * d;
    }
    n += count;
  }
  Moments all = together(moments(n, first, sum, squares, origin), at, shared);
  A scale = 1 / sqrt(all.squares / all.n + eps);
  all.mean += origin;
  for (int i = V * at.lane; i < L; i += step) {
    int count = min(L - i, V);
    Pack<T> pack = load(x + i, count);
    A ws[V], bs[V];
    parameters(w, i, count, 1, ws);
    parameters(b, i, count, 0, bs);
#pragma unroll
    for (int j = 0; j < V; j++) narrow((wide(pack.at[j]) - all.mean) * scale * ws[j] + bs[j], pack.at[j]);
    store(pack, y + i, count);
  }
  if (at.lane || !L) return;
  mean[r] = all.mean;
  rstd[r] = scale;
}

// Writes what a block gathered of columns i, .. for dw and db, one row after another: a row is `across` threads.
__device__ __forceinline__ void gathered(Sums (&all)[V], Sums* shared, A* part, int across, int i, int L) {
  if (across < blockDim.x) {
#pragma unroll
    for (int j = 0; j < V; j++) shared[threadIdx.x * V + j] = all[j];
    __syncthreads();
    if (threadIdx.x >= across) return;
  }
#pragma unroll
  for (int j = 0; j < V; j++) {
    for (int t = threadIdx.x + across; t < blockDim.x; t += across) all[j] = both(all[j], shared[t * V + j]);
    if (i + j < L) part[i + j] = all[j].gd, part[L + i + j] = all[j].g;
  }
}

extern "C" __global__ void __launch_bounds__(512) layer_norm_back(
    const T* __restrict__ g, const T* __restrict__ x, const A* __restrict__ w, const A* __restrict__ mean,
    const A* __restrict__ rstd, T* __restrict__ dx, A* __restrict__ parts,  // parts[block]: dw, db; null: longer rows
    int R, int L, int lanes) {
  __shared__ Sums shared[16], gathers[256 * V];
  Lanes at(lanes, false);
  int step = V * at.lanes, rows = gridDim.x * at.results;
  Sums own[V] = {};
  for (int first = blockIdx.x * at.results; first < R; first += rows) {
    int r = first + at.result, length = r < R ? L : 0;  // with the others to the barrier
    A middle = length ? mean[r] : A(0), scale = length ? rstd[r] : A(0);
    i64 row = (i64)r * L;
    Sums all = {};
    for (int i = V * at.lane; i < length; i += step) {
      int count = min(length - i, V);
      Pack<T> gs = load(g + row + i, count), xs = load(x + row + i, count);
      A ws[V];
      parameters(w, i, count, 1, ws);
#pragma unroll
      for (int j = 0; j < V; j++) {
        A v = wide(gs.at[j]), xhat = (wide(xs.at[j]) - middle) * scale, h = v * ws[j];
        all = both(all, {h, h * xhat});
        if (parts) own[j] = both(own[j], {v, v * xhat});
      }
    }
    all = together(all, at, shared);
    A level = all.g / L, tilt = all.gd / L;
    for (int i = V * at.lane; i < length; i += step) {
      int count = min(length - i, V);
      Pack<T> gs = load(g + row + i, count), xs = load(x + row + i, count);
      A ws[V];
      parameters(w, i, count, 1, ws);
#pragma unroll
      for (int j = 0; j < V; j++) {
        A v = wide(gs.at[j]), xhat = (wide(xs.at[j]) - middle) * scale, h = v * ws[j];
        narrow((h - level - xhat * tilt) * scale, xs.at[j]);
      }
      store(xs, dx + row + i, count);
    }
  }
  if (parts) gathered(own, gathers, parts + 2 * (i64)blockIdx.x * L, at.lanes, V * at.lane, L);
}

// Long rows: a block for 32 V columns and a part of the rows, of which each of its warps takes every eighth.
extern "C" __global__ void __launch_bounds__(256) layer_norm_columns(
    const T* __restrict__ g, const T* __restrict__ x, const A* __restrict__ mean, const A* __restrict__ rstd,
    A* __restrict__ parts, int R, int L) {
  __shared__ Sums gathers[256 * V];
  int i = V * (blockIdx.x * 32 + threadIdx.x % 32), count = min(L - i, V);
  Sums own[V] = {};
  for (int r = blockIdx.y * 8 + threadIdx.x / 32; r < R; r += gridDim.y * 8) {
    A middle = mean[r], scale = rstd[r];
    Pack<T> gs = load(g + (i64)r * L + i, count), xs = load(x + (i64)r * L + i, count);
#pragma unroll
    for (int j = 0; j < V; j++) {
      A v = wide(gs.at[j]);
      own[j] = both(own[j], {v, v * (wide(xs.at[j]) - middle) * scale});
    }
  }
  gathered(own, gathers, parts + 2 * (i64)blockIdx.y * L, 32, i, L);
}

// dw and db: a warp for each column.
extern "C" __global__ void __launch_bounds__(256) layer_norm_parameters(
    const A* __restrict__ parts, A* __restrict__ dw, A* __restrict__ db, int count, int L) {
  Lanes at(32, false);
  int i = blockIdx.x * at.results + at.result;
  if (i >= L) return;
  Sums s = {};
  for (int k = at.lane; k < count; k += at.lanes) {
    const A* part = parts + 2 * (i64)k * L;
    s = both(s, {part[L + i], part[i]});
  }
  s = together(s, at);
  if (at.lane) return;
  dw[i] = s.gd;
  db[i] = s.g;
}
