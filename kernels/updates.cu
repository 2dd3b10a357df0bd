// One step of an optimiser, for all parameters at once.
//
// MATH      sgd_      d = g + decay w;  v = m v + (1 - dampening) d;  w = w - lr v   (nesterov: lr (d + m v); no v:
//                     lr d); at the first step v = d
//           adam_     m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
//                     w = w - lr m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps)
//           rmsprop_  s = alpha s + (1 - alpha) g^2;  m = alpha m + (1 - alpha) g;  d = g / (sqrt(s - m^2) + eps);
//                     v = momentum v + d;  w = w - lr v
//           clipping    g is read as g min(1, most / (norm + 1e-6)), where a norm of all gradients is given
// BACKWARD  none: a step is not differentiated.
// TILING    a block of 256 threads for every CHUNK elements, whatever array they are of (lists.cuh); a thread takes 16
//           bytes of each array at a time. One thread of a block reads `hyper` and works out in float64 what all need:
//           1 - beta^step in float32 would lose four digits at the first step.
// COST      each number of w, m, v read once and written once, g read once; some 10 flop an element (Adam 15), so bound
//           by memory. float32, 11.2 million parameters (ResNet-18): SGD with momentum 224 MB, Adam 313 MB. The lists:
//           48 bytes an array (Adam), 7.7 KB for the 161 of ResNet-50, sent by one copy. To clip costs nothing here; a
//           launch of its own (clip_norm_ of gradients.cu) reads and writes 89 MB more. float32 takes 48 registers
//           (Adam): five blocks of a multiprocessor's 64K, each thread of them with 16 bytes of four arrays on the way.
// EDGES     lists of any length, arrays of any size and alignment; 16-bit floats are computed in float32 and rounded
//           once, as they are written. `hyper` is read where it lies: a captured step can be replayed with other
//           numbers. So is `skip`, if it is there: where it is not 0, nothing is written, and the host need not know.
//           The step count is the host's, less the steps that were `skipped` so.
// MEASURED  not yet on a GPU. Expected: 0.85 of the memory's bandwidth from some ten million parameters on (ResNet-18,
//           SGD, H200: 55 us); a small model (ResNet-8, 0.3 million) takes the 3 us of a launch, and as long for the
//           copy before it.
// SOURCE    the formulas as PyTorch has them (tinygrad_fast/optim); many arrays a launch: NVIDIA Apex, multi_tensor.
// SPEC      Updates.sgd_, adam_, rmsprop_ (tinygrad_fast/backend/updates.py).
#include "lists.cuh"

// What a gradient is read times: all of them together have a norm of at most `most`. 1 if there is no norm to tell.
__device__ __forceinline__ A clipped(const A* norm, A most) {
  A scale = norm ? most / (*norm + (A)1e-6) : 1;
  return scale > 1 ? 1 : scale;  // NaN stays
}

struct Sgd { A lr, m, fresh, decay, clip; };

extern "C" __global__ void __launch_bounds__(256) sgd_(
    Arrays<T> ws, Arrays<const T> gs, Arrays<T> vs, List<i64> sizes, List<i64> first,
    const double* __restrict__ hyper, int nesterov, const int* __restrict__ skip, const int* __restrict__ skipped,
    const A* __restrict__ norm, A most) {
  if (skip && *skip) return;
  __shared__ Sgd h;
  if (threadIdx.x == 0) {
    double step = hyper[4] - (skipped ? *skipped : 0);
    h = {(A)hyper[0], (A)hyper[1], (A)(step > 1 ? 1 - hyper[2] : 1), (A)hyper[3], clipped(norm, most)};
  }
  __syncthreads();
  A lr = h.lr, m = h.m, fresh = h.fresh, decay = h.decay, clip = h.clip;
  bool remembers = vs.size;

  each(sizes, first, [=](A& w, A d, A& v) {
    d *= clip;
    if (decay) d += decay * w;
    if (remembers) {
      v = m * v + fresh * d;
      d = nesterov ? d + m * v : v;
    }
    w -= lr * d;
  }, ws, gs, vs);
}

struct Adam { A rate, root, eps, decay, shrink, old1, new1, old2, new2, clip; };

extern "C" __global__ void __launch_bounds__(256) adam_(
    Arrays<T> ws, Arrays<const T> gs, Arrays<T> ms, Arrays<T> vs, List<i64> sizes, List<i64> first,
    const double* __restrict__ hyper, int decoupled, const int* __restrict__ skip, const int* __restrict__ skipped,
    const A* __restrict__ norm, A most) {
  if (skip && *skip) return;
  __shared__ Adam h;
  if (threadIdx.x == 0) {
    double lr = hyper[0], beta1 = hyper[1], beta2 = hyper[2], decay = hyper[4];
    double step = hyper[5] - (skipped ? *skipped : 0);
    h.rate = (A)(lr / (1 - pow(beta1, step)));
    h.root = (A)(1 / sqrt(1 - pow(beta2, step)));
    h.eps = (A)hyper[3];
    h.decay = (A)(decoupled ? 0 : decay);
    h.shrink = (A)(decoupled ? 1 - lr * decay : 1);
    h.old1 = (A)beta1, h.new1 = (A)(1 - beta1);
    h.old2 = (A)beta2, h.new2 = (A)(1 - beta2);
    h.clip = clipped(norm, most);
  }
  __syncthreads();
  Adam a = h;

  each(sizes, first, [=](A& w, A g, A& m, A& v) {
    g *= a.clip;
    w *= a.shrink;
    if (a.decay) g += a.decay * w;
    m = a.old1 * m + a.new1 * g;
    v = a.old2 * v + a.new2 * (g * g);
    w -= a.rate * (m / (sqrt(v) * a.root + a.eps));
  }, ws, gs, ms, vs);
}

struct Rmsprop { A lr, old, fresh, eps, decay, momentum, clip; };

extern "C" __global__ void __launch_bounds__(256) rmsprop_(
    Arrays<T> ws, Arrays<const T> gs, Arrays<T> ss, Arrays<T> ms, Arrays<T> vs, List<i64> sizes, List<i64> first,
    const double* __restrict__ hyper, const int* __restrict__ skip, const A* __restrict__ norm, A most) {
  if (skip && *skip) return;
  __shared__ Rmsprop h;
  if (threadIdx.x == 0)
    h = {(A)hyper[0], (A)hyper[1], (A)(1 - hyper[1]), (A)hyper[2], (A)hyper[3], (A)hyper[4], clipped(norm, most)};
  __syncthreads();
  Rmsprop r = h;
  bool centered = ms.size, remembers = vs.size;

  each(sizes, first, [=](A& w, A d, A& s, A& m, A& v) {
    d *= r.clip;
    if (r.decay) d += r.decay * w;
    s = r.old * s + r.fresh * (d * d);
    A var = s;
    if (centered) {
      m = r.old * m + r.fresh * d;
      var -= m * m;
      if (var < 0) var = 0;  // by rounding alone
    }
    d /= sqrt(var) + r.eps;
    if (remembers) d = v = r.momentum * v + d;
    w -= r.lr * d;
  }, ws, gs, ss, ms, vs);
}
