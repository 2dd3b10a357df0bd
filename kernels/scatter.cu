// Adding rows where they were read from: the gradients of indexing, tables, pixels and `gather`, in a fixed order.
//
// MATH      d[r] = sum over the i with row[i] = r of s[i] g[i]      rows of `width` numbers; s weighs, or is left out
// BACKWARD  of each: reading, dg[i] = s[i] h[row[i]].
// TILING    The launcher sorts the indices, and keeps equal ones in their order: each row of d is the sum of a run. A
//           chunk is 32 entries of the sorted list; a thread walks along one chunk for V numbers of the row, and
//           threads side by side read g in lines: 16 bytes each with -DPACKED=1, where rows begin at a multiple of
//           16, else one number. A run inside a chunk is written to d. One that a border cuts leaves a part behind, on
//           each side of the border: a chunk has two places for such parts, front and back.
//
//           Drawn with chunks of 6:
//
//               row    0 0 2 2 2 2 | 2 2 2 2 2 2 | 2 5 5 7 7 7 | 7       runs of 0 and 5: written
//               parts      . [2] | [2]     [2]0 | [2]    [7] | [7] .     [2]0: row 2, and its sum is 0; . is no row
//
//           What is left, 2 2 2 2 7 7, is a sorted list again.
//
//           The parts are the entries of the next launch, a sixteenth as many, until one chunk holds them all. So
//           a hundred thousand equal indices are a tree of four levels, and how many launches there are depends on n
//           alone. A chunk that a run passes through leaves a zero in its back, so that equal rows stay neighbours.
// COST      g read once, d written once, 16 bytes an index for each 128 V numbers of a row; parts: a fifteenth as many
//           numbers, written and read, at most. Bound by memory; but for rows of a few numbers by the sort.
// EDGES     any n and width. Entries with a row outside 0 .. rows - 1 add nothing; rows without an entry keep what d
//           holds. Sums are float32 (float64 for float64) until the last.
// MEASURED  not yet on a GPU. Expected: 0.5 of the memory's bandwidth for rows of 256 bytes or more, packed.
// SOURCE    the partial segments of PyTorch's EmbeddingBackwardKernel.cu (two levels there).
// SPEC      CPU.getitem_back, gather_back, pixels_back (tinygrad_fast/backend/cpu.py), Composed.embedding_back.
#include "common.cuh"

constexpr int CHUNK = 32, AHEAD = 4;  // entries of a chunk; those read before they are added: their waits overlap
constexpr int V = PACKED ? 16 / sizeof(T) : 1;
constexpr i64 NOWHERE = -1, NOBODY = -(1LL << 62);  // the row of what adds nothing; what stands behind the last entry

typedef Pack<A, V> Numbers;  // side by side in a row

__device__ __forceinline__ void write(const Numbers& x, T* d) {
  Pack<T, V> y;
#pragma unroll
  for (int v = 0; v < V; v++) narrow(x.at[v], y.at[v]);
  *(Pack<T, V>*)d = y;
}

// One chunk, for the V numbers of a row from each f on; value(i, f) are those of entry i.
template <class Value> __device__ __forceinline__ void walk(
    Value value, const i64* row, T* d, i64* part_row, A* part, i64 n, int width, i64 rows) {
  i64 chunk = blockIdx.x * (i64)blockDim.y + threadIdx.y, first = chunk * CHUNK;
  i64 last = first + CHUNK < n ? first + CHUNK : n;
  if (first >= n) return;
  i64 front = NOWHERE, back = NOWHERE;
  for (int f = V * (blockIdx.y * blockDim.x + threadIdx.x); f < width; f += V * gridDim.y * blockDim.x) {
    bool cut = first && row[first - 1] == row[first];  // the run began in an earlier chunk
    Numbers sum = {};
    for (i64 i = first; i < last; i += AHEAD) {
      i64 at[AHEAD + 1];
      Numbers x[AHEAD] = {};
#pragma unroll
      for (int j = 0; j <= AHEAD; j++) at[j] = i + j < n ? row[i + j] : NOBODY;
#pragma unroll
      for (int j = 0; j < AHEAD; j++)
        if (i + j < last && at[j] >= 0) x[j] = value(i + j, f);
#pragma unroll
      for (int j = 0; j < AHEAD; j++) {
        if (i + j >= last) break;
#pragma unroll
        for (int v = 0; v < V; v++) sum.at[v] += x[j].at[v];
        bool goes_on = at[j + 1] == at[j];
        if (goes_on && i + j + 1 < last) continue;
        if (cut) {
          front = at[j];
          *(Numbers*)(part + 2 * chunk * width + f) = sum;
          sum = {};
        }
        if (goes_on) {
          back = at[j];
          *(Numbers*)(part + (2 * chunk + 1) * width + f) = sum;
        } else if (!cut && at[j] >= 0 && at[j] < rows) {
          write(sum, d + at[j] * width + f);
        }
        sum = {}, cut = false;
      }
    }
  }
  if (part_row && blockIdx.y == 0 && threadIdx.x == 0) {
    part_row[2 * chunk] = front;
    part_row[2 * chunk + 1] = back;
  }
}

// Entry i is row order[i] >> shift of g, times s[order[i]] if there is an s.
__device__ __forceinline__ Numbers entry(const T* g, const A* s, i64 from, int f, int width, int shift) {
  Pack<T, V> some = *(const Pack<T, V>*)(g + (from >> shift) * width + f);
  A by = s ? s[from] : A(1);
  Numbers x;
#pragma unroll
  for (int v = 0; v < V; v++) x.at[v] = wide(some.at[v]) * by;
  return x;
}

extern "C" __global__ void scatter(
    const T* __restrict__ g, const A* __restrict__ s, const i64* __restrict__ order, const i64* __restrict__ row,
    T* __restrict__ d, i64* __restrict__ part_row, A* __restrict__ part, i64 n, int width, i64 rows, int shift) {
  walk([&](i64 i, int f) { return entry(g, s, order[i], f, width, shift); }, row, d, part_row, part, n, width, rows);
}

// The parts that a launch left behind are the entries of the next.
extern "C" __global__ void scatter_parts(
    const A* __restrict__ g, const i64* __restrict__ row, T* __restrict__ d, i64* __restrict__ part_row,
    A* __restrict__ part, i64 n, int width, i64 rows) {
  walk([&](i64 i, int f) { return *(const Numbers*)(g + i * width + f); }, row, d, part_row, part, n, width, rows);
}

// The same without a sort, in whatever order the additions happen to come: tf.use_deterministic_algorithms(False).
// d_ arrives with what is to be added to. Not packed: threads side by side add to numbers side by side.
extern "C" __global__ void scatter_atomic(
    const T* __restrict__ g, const A* __restrict__ s, const i64* __restrict__ row, A* __restrict__ d_,
    i64 n, int width, i64 rows, int shift) {
  i64 i = blockIdx.x * (i64)blockDim.y + threadIdx.y;
  if (i >= n || row[i] < 0 || row[i] >= rows) return;
  for (int f = blockIdx.y * blockDim.x + threadIdx.x; f < width; f += gridDim.y * blockDim.x)
    atomicAdd(&d_[row[i] * width + f], entry(g, s, i, f, width, shift).at[0]);
}

// Few entries a column: x (O, K, I), g and index (O, M, I). A thread for each entry; the first of equal ones in a
// column adds them all, in their order, so nothing is sorted and nobody waits. M reads of the index a thread.
extern "C" __global__ void gather_back(
    const T* __restrict__ g, const i64* __restrict__ index, T* __restrict__ d, i64 O, int M, int K, i64 I) {
  i64 e = blockIdx.x * (i64)blockDim.x + threadIdx.x;
  if (e >= O * M * I) return;
  i64 o = e / I / M, column = o * M * I + e % I;
  int m = (int)(e / I % M);
  i64 k = index[e];
  for (int j = 0; j < m; j++)
    if (index[column + j * I] == k) return;
  A sum = wide(g[e]);
  for (int j = m + 1; j < M; j++)
    if (index[column + j * I] == k) sum += wide(g[column + j * I]);
  if (k >= 0 && k < K) narrow(sum, d[(o * K + k) * I + e % I]);
}
