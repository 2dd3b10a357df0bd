// A product of matrices as an instance of the tile loop: two loaders that know strides, and rows of y.
#include "matmul.cuh"
#include "tile_loop.cuh"

// Compiled with -DXK=1 where neighbours of x lie along k, -DXV=8 elements a copy of x; -DWK, -DWV of w.
template <class Engine>
__device__ __forceinline__ void product(const T* x, i64 xm, i64 xk, const T* w, i64 wk, i64 wn, const T* bias, T* y,
                                        int M, int N, int K, int batches, const Batch& batch, int relu) {
  Place at = place(blockIdx.x, M, N);
  for (int b = blockIdx.z; b < batches; b += gridDim.z) {
    Matrix<XK, XV> left = {x + start(batch, batch.x, b), (int)xm, (int)xk, M};
    Matrix<WK, WV> right = {w + start(batch, batch.w, b), (int)wn, (int)wk, N};
    Rows out = {y + (i64)b * M * N, bias, M, N, relu};
    tile_loop<Engine>(left, right, out, at.m, at.n, 0, K);
    __syncthreads();  // nobody reads shared memory any more
  }
}
