// Indices looked at where they lie: what is wrong is written down and told later, so that no step waits for it.
//
// MATH      y[i] = index[i], or index[i] + n where it is negative and may be, for every index in low..n-1; where it is
//           `ignored`, y[i] = index[i]. Any other is a fault: y[i] = 0, so that whatever reads y stays inside its
//           array, and if the flag is still clear, flag = (who, index[i]).
// BACKWARD  none: an index has no gradient.
// TILING    a thread an element, each going on by the size of the grid.
//
//               index   0 1 2 .. 255 | 256 ..             the flag is touched by faults alone; the first of them to
//                          block 0   | block 1            get there is the one that is told
//
// COST      16 bytes an index: a launch, and nothing beside it.
// EDGES     any count; none is no launch. Which of several faults is told is chance; that one is told is not.
// MEASURED  not yet on a GPU. Expected: the 2 us of an empty launch up to some 100,000 indices, 0.8 of the memory's
//           bandwidth for millions.
// SOURCE    the idea of PyTorch's device-side assertions, without their abort: the GPU stays usable.
// SPEC      CPU.check_indices (tinygrad_fast/backend/cpu.py); who reads the flag: backend/launchers/checks.py.
#include "common.cuh"

extern "C" __global__ void check_indices(
    const i64* __restrict__ index, i64* __restrict__ y, long long count, long long low, long long n, int ignores,
    long long ignored, int who, i64* flag_) {
  for (i64 i = blockIdx.x * (i64)blockDim.x + threadIdx.x; i < count; i += gridDim.x * (i64)blockDim.x) {
    i64 at = index[i];
    if (!(ignores && at == ignored)) {
      bool inside = at >= low && at < n;
      if (!inside && atomicCAS((unsigned long long*)flag_, 0ull, (unsigned long long)who) == 0) flag_[1] = at;
      at = !inside ? 0 : at < 0 ? at + n : at;
    }
    y[i] = at;
  }
}
