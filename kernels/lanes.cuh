// How the threads of a block share the work on a result, and put together what each of them found.
//
// A block makes `results` results that are neighbours. Each of them has a team of `lanes` threads, a power of two, and
// a thread of the team takes every lanes-th of the numbers that the result is made of. Which thread belongs to whom
// depends on what lies side by side in memory, so that a warp reads whole lines; here 8 threads, lanes = 4:
//
//     rows      the numbers of one result        thread    0 1 2 3 4 5 6 7
//               thread = result lanes + lane     result    0 0 0 0 1 1 1 1
//                                                lane      0 1 2 3 0 1 2 3
//
//     columns   the same number of many results  thread    0 1 2 3 4 5 6 7
//               thread = lane results + result   result    0 1 0 1 0 1 0 1
//                                                lane      0 0 1 1 2 2 3 3
//
// What a thread has found so far is a structure S of some A; `Total` below is the plainest. `found` walks along a
// thread's own numbers, then `together` makes one S of what a team found, in an order that is always the same:
//     S::none()       nothing yet                                                                          (found)
//     S::of(x, n)     what is found in x[0] .. x[n - 1], n <= MANY                                         (found)
//     both(s, t)      two findings as one                                                        (found, together)
//     other(s, bits)  what the thread found whose place in the warp differs in `bits`, by shuffles      (together)
#include "common.cuh"

// Numbers that a thread asks for before it looks at any: memory takes some 600 cycles to answer.
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

// What a thread finds in the numbers i, i + step, ... below `end`, each read by load(i).
template <class S, class F> __device__ __forceinline__ S found(Index i, Index end, Index step, F load) {
  S s = S::none();
  decltype(load(i)) x[MANY];
  for (; i + (MANY - 1) * step < end; i += MANY * step) {
#pragma unroll
    for (int j = 0; j < MANY; j++) x[j] = load(i + j * step);
    s = both(s, S::of(x, MANY));
  }
  int n = 0;  // of the last ones are there
#pragma unroll
  for (int j = 0; j < MANY - 1; j++)
    if (i + j * step < end) x[j] = load(i + j * step), n++;
  return n ? both(s, S::of(x, n)) : s;
}

// What all lanes of a result found, known to each of them, or to the first alone. First within each warp, by shuffles;
// where a team has several warps, each leaves what it found in `shared`, one S in rows, one for each result in columns
// (a block has at most 32), and all threads of the block must come here.
template <class S>
__device__ __forceinline__ S together(S s, const Lanes& at, S* shared = nullptr, bool known_to_all = true) {
  int end = at.columns ? 32 : min(at.lanes, 32);
  for (int bits = at.columns ? at.results : 1; bits < end; bits *= 2) {  // to the same result's other lanes
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
