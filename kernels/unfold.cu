// The patches of an image as columns, and columns added up where their patches lay.
//
// MATH      unfold: y[n, (c, a, b), (i, j)] = x[n, c, i s + a d - p, j s + b d - p], 0 where that lies outside
//           fold:   x[n, c, h, w] = sum of y[n, (c, a, b), (i, j)] over i, j, a, b with i s + a d - p = h, and so on
// BACKWARD  each is the other's adjoint. fold is a gather: in one order, no atomics.
// TILING    columns lie with (i, j) fastest, an image with its channels fastest: the block turns 32 x 32 of them in
//           shared memory, so that both sides are read and written in whole lines.
//
//               x: 32 channels side by side           y: 32 places side by side
//               pixel 0   c0 c1 c2 ... c31            c0   l0 l1 l2 ... l31
//               pixel 1   c0 c1 c2 ... c31   ------>  c1   l0 l1 l2 ... l31     one (a, b) at a time
//               ...                                   ...
//
//           With few channels, or an image that lies N C H W, there is nothing to turn: TURNED=0.
// COST      unfold: x read KH KW times, all but once from a cache, KH KW times as much written. fold: the reverse.
// EDGES     any sizes, strides and dilations; any strides of x. unfold copies bits.
// MEASURED  not yet on a GPU. Expected: 0.6 of the memory's bandwidth.
// SOURCE    the definition.
// SPEC      windows.unfold, fold (tinygrad_fast/backend/windows.py).
#include "windows.cuh"

const int SIDE = 32, ROWS = 8;  // of a tile; of a block of SIDE x ROWS threads

// Blocks count places fastest, then groups of channels, then the rest.
struct Tile { int first_channel, rest, first_place; };

__device__ __forceinline__ Tile tile_of(int C, int places) {
  int across = (places + SIDE - 1) / SIDE, down = (C + SIDE - 1) / SIDE, b = blockIdx.x;
  return {b / across % down * SIDE, b / across / down, b % across * SIDE};
}

extern "C" __global__ void unfold(
    const T* __restrict__ x, long long xn, long long xc, long long xh, long long xw, T* __restrict__ y,
    int N, int C, int H, int W, int OH, int OW, Windows win) {
  __shared__ T tile[SIDE][SIDE + 1];
  int L = OH * OW;
  Tile t = tile_of(C, L);
  int a = t.rest / win.kw, b = t.rest % win.kw;
  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    for (int r = threadIdx.y; r < SIDE; r += ROWS) {
      int c = t.first_channel + (TURNED ? threadIdx.x : r), l = t.first_place + (TURNED ? r : threadIdx.x);
      if (c >= C || l >= L) continue;
      int h = l / OW * win.sh + a * win.dh - win.ph, w = l % OW * win.sw + b * win.dw - win.pw;
      T value;
      if (h >= 0 && h < H && w >= 0 && w < W) value = x[n * xn + c * xc + h * xh + w * xw];
      else narrow(A(0), value);
      if (TURNED) tile[r][threadIdx.x] = value;
      else y[(((i64)n * C + c) * win.kh * win.kw + t.rest) * L + l] = value;
    }
    if (!TURNED) continue;
    __syncthreads();
    for (int r = threadIdx.y; r < SIDE; r += ROWS) {
      int c = t.first_channel + r, l = t.first_place + threadIdx.x;
      if (c < C && l < L) y[(((i64)n * C + c) * win.kh * win.kw + t.rest) * L + l] = tile[threadIdx.x][r];
    }
    __syncthreads();
  }
}

// x lies channels-last.
extern "C" __global__ void fold(
    const T* __restrict__ y, T* __restrict__ x, int N, int C, int H, int W, int OH, int OW, Windows win) {
  __shared__ T tile[SIDE][SIDE + 1];
  Tile t = tile_of(C, H * W);
  int p = t.first_place + threadIdx.x, h = p / W, w = p % W;
  Range down = windows_on(h, win.kh, win.sh, win.ph, win.dh, OH);
  Range across = windows_on(w, win.kw, win.sw, win.pw, win.dw, OW);
  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    for (int r = threadIdx.y; r < SIDE; r += ROWS) {
      int c = t.first_channel + r;
      if (c >= C || p >= H * W) continue;
      const T* columns = y + ((i64)n * C + c) * win.kh * win.kw * OH * OW;
      A sum = 0;
      for (int i = down.first; i <= down.last; i++) {
        int a = place_on(h, i, win.sh, win.ph, win.dh);
        for (int j = across.first; a >= 0 && j <= across.last; j++) {
          int b = place_on(w, j, win.sw, win.pw, win.dw);
          if (b >= 0) sum += wide(columns[((i64)(a * win.kw + b) * OH + i) * OW + j]);
        }
      }
      narrow(sum, TURNED ? tile[threadIdx.x][r] : x[((i64)n * H * W + p) * C + c]);
    }
    if (!TURNED) continue;
    __syncthreads();
    for (int r = threadIdx.y; r < SIDE; r += ROWS) {
      int c = t.first_channel + threadIdx.x, q = t.first_place + r;
      if (c < C && q < H * W) x[((i64)n * H * W + q) * C + c] = tile[r][threadIdx.x];
    }
    __syncthreads();
  }
}
