// The largest number of each window, which place of the window it stood at, and the way back.
//
// MATH      y[n, c, i, j] = max over a, b of x[n, c, i s + a d - p, j s + b d - p];   tap = a KW + b of the first of
//           the largest, or of the last NaN. What lies outside x is -inf, and loses; where nothing wins, tap is 0.
// BACKWARD  max_pool2d_back: dx[n, c, h, w] = sum of g over the windows whose tap points at (h, w): a gather, in one
//           order, however the windows overlap. max_pool2d_at is the adjoint of that.
// TILING    a thread for 16 bytes of neighbouring channels of a result:
//
//               x, H x W pixels            y, tap, OH x OW pixels
//               . . . . . .                                          thread e of image n: 4 channels (float32)
//               . +---+ . .   K x K loads    +--+--+--+                e % (C/4), then e / (C/4) % OW, then the row
//               . |   | . .  ------------>   |  |##|  |   1 store
//               . +---+ . .                  +--+--+--+              back: the same, from (H, W), over ceil(K / s)^2
//               . . . . . .                                          windows
//
// COST      forward: x read once (windows that overlap find it in a cache), y and a byte an element written; back: g
//           and tap read, dx written. Bound by memory. 3x3, stride 2, 112 x 112 x 64, 256 images, float16: 411 + 103 +
//           51 MB forward, as much back.
// EDGES     any sizes, strides, dilations; C that is no multiple of a pack, and planes (N C H W), go element by
//           element. A byte holds a tap of up to 256 places (-DTAP=uint8), beyond that 4 bytes do (-DTAP=uint32).
// MEASURED  not yet on a GPU. Expected: 0.8 of the memory's bandwidth.
// SOURCE    the definition.
// SPEC      pooling.max_pool2d, max_pool2d_back, max_pool2d_at (tinygrad_fast/backend/pooling.py).
#include "pixels.cuh"
#include "windows.cuh"

typedef unsigned char uint8;
typedef u32 uint32;

extern "C" __global__ void max_pool2d(
    const T* __restrict__ x, T* __restrict__ y, TAP* __restrict__ tap, int N, int H, int W, int C, int OH, int OW,
    Windows win) {
  Place at = place(OW, C);
  if (at.row >= OH) return;
  int top = at.row * win.sh - win.ph, left = at.column * win.sw - win.pw;
  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    A best[V];
    Pack<TAP, V> won;
#pragma unroll
    for (int v = 0; v < V; v++) best[v] = -infinity(), won.at[v] = 0;
    for (int a = 0; a < win.kh; a++) {
      int h = top + a * win.dh;
      if (h < 0 || h >= H) continue;
      for (int b = 0; b < win.kw; b++) {
        int w = left + b * win.dw;
        if (w < 0 || w >= W) continue;
        Pack<T, V> spot = load(x + pixel(n, h, w, H, W, C) + at.channel);
#pragma unroll
        for (int v = 0; v < V; v++) {
          A z = wide(spot.at[v]);
          if (z > best[v] || z != z) best[v] = z, won.at[v] = a * win.kw + b;
        }
      }
    }
    i64 to = pixel(n, at.row, at.column, OH, OW, C) + at.channel;
    store(best, y + to);
    store(won, tap + to);
  }
}

extern "C" __global__ void max_pool2d_back(
    const T* __restrict__ g, const TAP* __restrict__ tap, T* __restrict__ dx, int N, int H, int W, int C, int OH,
    int OW, Windows win) {
  Place at = place(W, C);
  if (at.row >= H) return;
  Range down = windows_on(at.row, win.kh, win.sh, win.ph, win.dh, OH);
  Range across = windows_on(at.column, win.kw, win.sw, win.pw, win.dw, OW);
  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    A sum[V] = {};
    for (int i = down.first; i <= down.last; i++) {
      int a = place_on(at.row, i, win.sh, win.ph, win.dh);
      if (a < 0) continue;
      for (int j = across.first; j <= across.last; j++) {
        int b = place_on(at.column, j, win.sw, win.pw, win.dw);
        if (b < 0) continue;
        i64 from = pixel(n, i, j, OH, OW, C) + at.channel;
        Pack<TAP, V> won = load(tap + from);
        Pack<T, V> d = load(g + from);
#pragma unroll
        for (int v = 0; v < V; v++)
          if (won.at[v] == a * win.kw + b) sum[v] += wide(d.at[v]);
      }
    }
    store(sum, dx + pixel(n, at.row, at.column, H, W, C) + at.channel);
  }
}

// y[n, c, i, j] = x at the place that the tap points at; 0 where that lies outside.
extern "C" __global__ void max_pool2d_at(
    const T* __restrict__ x, const TAP* __restrict__ tap, T* __restrict__ y, int N, int H, int W, int C, int OH, int OW,
    Windows win) {
  Place at = place(OW, C);
  if (at.row >= OH) return;
  for (int n = blockIdx.y; n < N; n += gridDim.y) {
    i64 to = pixel(n, at.row, at.column, OH, OW, C) + at.channel;
    Pack<TAP, V> won = load(tap + to);
    Pack<T, V> found;
#pragma unroll
    for (int v = 0; v < V; v++) {
      int h = at.row * win.sh - win.ph + (int)(won.at[v] / win.kw) * win.dh;
      int w = at.column * win.sw - win.pw + (int)(won.at[v] % win.kw) * win.dw;
      if (h >= 0 && h < H && w >= 0 && w < W) found.at[v] = x[pixel(n, h, w, H, W, C) + at.channel + v];
      else narrow(A(0), found.at[v]);
    }
    store(found, y + to);
  }
}
