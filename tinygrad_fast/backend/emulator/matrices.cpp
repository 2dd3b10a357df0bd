// What a warp does with matrices: ldmatrix and mma, with the fragments of the PTX manual (kernels/tensor_cores.cuh says
// who holds what). The last lane to come does it for all, through the pointers that the others left.
//
// A tensor core adds up in an order and a width that NVIDIA does not publish; here it is float32, k by k. So bits may
// differ from a GPU's, and an error model that allows any order is what results may be held to.
#include "machine.h"
#include "numbers.h"

using namespace emulator;

static void ldmatrix(bool trans, Thread* lanes) {
  uint16_t element[4][8][8];  // matrix, row, column
  for (int lane = 0; lane < 32; lane++) memcpy(element[lane / 8][lane % 8], lanes[lane].give, 16);
  for (int lane = 0; lane < 32; lane++) {
    unsigned* r = (unsigned*)lanes[lane].take;
    int g = lane / 4, t = lane % 4;
    for (int j = 0; j < 4; j++)
      r[j] = trans ? element[j][2 * t][g] | (unsigned)element[j][2 * t + 1][g] << 16
                   : element[j][g][2 * t] | (unsigned)element[j][g][2 * t + 1] << 16;
  }
}

// The element or two that a register holds, to at[0] and at[stride].
static void unpack(Meeting kind, unsigned r, float* at, int stride) {
  if (kind == MMA_TF32) {
    at[0] = __uint_as_float(r & 0xffffe000);  // what is not rounded is cut off
  } else if (kind == MMA_F16) {
    at[0] = half_to_float((uint16_t)r), at[stride] = half_to_float((uint16_t)(r >> 16));
  } else {
    at[0] = __uint_as_float(r << 16), at[stride] = __uint_as_float(r & 0xffff0000);
  }
}

static void mma(Meeting kind, Thread* lanes) {
  float a[16][16] = {}, b[16][8] = {}, d[16][8];
  int depth = kind == MMA_TF32 ? 8 : 16, each = kind == MMA_TF32 ? 1 : 2;  // k, and elements of it in a register
  for (int lane = 0; lane < 32; lane++) {
    const unsigned* r = (const unsigned*)lanes[lane].give;  // a[0..3], b[0..1]
    const float* sums = (const float*)lanes[lane].take;
    int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) unpack(kind, r[i], &a[g + 8 * (i % 2)][each * t + depth / 2 * (i / 2)], 1);
    for (int i = 0; i < 2; i++) unpack(kind, r[4 + i], &b[each * t + depth / 2 * i][g], 8);
    for (int i = 0; i < 4; i++) d[g + 8 * (i / 2)][2 * t + i % 2] = sums[i];
  }
  for (int k = 0; k < depth; k++)
    for (int m = 0; m < 16; m++)
      for (int n = 0; n < 8; n++) d[m][n] += a[m][k] * b[k][n];
  for (int lane = 0; lane < 32; lane++) {
    float* sums = (float*)lanes[lane].take;
    for (int i = 0; i < 4; i++) sums[i] = d[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
  }
}

void emulator::matrices(Meeting meeting, Thread* lanes) {
  if (meeting == LDMATRIX || meeting == LDMATRIX_TRANS) ldmatrix(meeting == LDMATRIX_TRANS, lanes);
  else mma(meeting, lanes);
}
