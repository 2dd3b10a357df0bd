// Kernels for test_trace.py: what each line touches is known.

struct Pair { float x, y; };

// Lane i reads x[step * i], and the warp shares it.
extern "C" __global__ void strided(const float* x, float* y, int step) {
  __shared__ float kept[32 * 32];
  __shared__ Pair pairs[2];
  DYNAMIC_SHARED(float, more);
  int i = threadIdx.x;
  kept[step * i] = x[step * i];
  __syncwarp();
  if (i < 2) pairs[i].y = kept[0];
  more[i] = i;
  y[i] = __shfl_down_sync(~0u, kept[step * i], 1);
}

// Lane i goes round i + 1 times; odd lanes go another way.
extern "C" __global__ void apart(const int* x, int* y) {
  int i = threadIdx.x, sum = 0;
  for (int k = 0; k <= i; k++) sum += x[k];
  if (i % 2) {
    y[i] = sum;
  } else {
    y[i] = -sum;
  }
  atomicAdd(&y[4], (int)__ballot_sync(15, i == 2));
}

extern "C" __global__ void copied(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; }

extern "C" __global__ void last_word(float x) {
  DYNAMIC_SHARED(float, more);
  more[threadIdx.x] = x;
}

template <class V> __device__ void keep(V x) {
  __shared__ V first, kept[2];
  kept[threadIdx.x] = x;
  first = kept[0];
}
extern "C" __global__ void in_template(float x) { keep(x); }
