// Threads that share a result: who takes what, and how they put together what each of them found.
//
// A block makes `results` neighbouring results; `lanes` threads, a power of two, share each. Of the numbers that go
// into it a thread takes every lanes-th. What it finds is a structure S of A, made by S::none() and S::of(a few
// numbers) and put together by both(S, S), always in the same order; other(S, bits) is what the lane `bits` away found.
//
//     rows      neighbouring threads read one result's neighbouring numbers:    thread = result lanes + lane
//     columns   neighbouring threads read the numbers of neighbouring results:  thread = lane results + result
#include "common.cuh"

// Numbers that a thread asks for before it looks at any: memory answers after 600 cycles.
const int MANY = 16 / sizeof(T);

const int ROOM = 256;  // for what the warps of a block found: 8 warps of 32 columns, 32 warps of a row

struct Lanes {
  int lanes, results, lane, result;
  bool columns;

  __device__ __forceinline__ Lanes(int lanes, bool columns)
      : lanes(lanes), results(blockDim.x / lanes), columns(columns) {
    lane = columns ? threadIdx.x / results : threadIdx.x % lanes;
    result = columns ? threadIdx.x % results : threadIdx.x / lanes;
  }
};

// What is found in the numbers i, i + step, ... below `end`, each read by load(i).
template <class S, class F> __device__ __forceinline__ S found(u32 i, u32 end, u32 step, F load) {
  S s = S::none();
  for (; i < end; i += MANY * step) {
    A x[MANY];
    int n = 0;  // of them are there
#pragma unroll
    for (int j = 0; j < MANY; j++)
      if (i + j * step < end) x[j] = load(i + j * step), n++;
    s = both(s, S::of(x, n));
  }
  return s;
}

// What all lanes of a result found, known to each of them, or to the first alone. In columns a block has at most 32
// results. `shared` has room for what each warp found: one S in rows, one of each result in columns. Results of 32
// lanes or less in rows need none.
template <class S>
__device__ __forceinline__ S together(S s, const Lanes& at, S* shared = nullptr, bool known_to_all = true) {
  int end = at.columns ? 32 : min(at.lanes, 32);
  for (int bits = at.columns ? at.results : 1; bits < end; bits *= 2) {
    S theirs = other(s, bits);
    bool upper = threadIdx.x & bits;
    s = both(upper ? theirs : s, upper ? s : theirs);  // alike in both lanes, to the last bit
  }
  int each = at.columns ? at.results : 1, warps = (at.columns ? blockDim.x : at.lanes) / 32;  // that share a result
  if (warps <= 1) return s;
  __syncthreads();  // nobody reads what was found before
  if (threadIdx.x % 32 < each) shared[threadIdx.x / 32 * each + threadIdx.x % 32] = s;
  __syncthreads();
  if (!known_to_all && at.lane) return s;
  int mine = at.columns ? at.result : at.result * warps;
  s = shared[mine];
  for (int warp = 1; warp < warps; warp++) s = both(s, shared[warp * each + mine]);
  return s;
}

struct Total {
  A sum;
  __device__ static Total none() { return {0}; }
  __device__ static Total of(const A* x, int n) {
    A s = 0;
#pragma unroll
    for (int j = 0; j < MANY; j++)
      if (j < n) s += x[j];
    return {s};
  }
};
__device__ __forceinline__ Total both(Total a, Total b) { return {a.sum + b.sum}; }
__device__ __forceinline__ Total other(Total s, int bits) { return {__shfl_xor_sync(~0u, s.sum, bits)}; }
