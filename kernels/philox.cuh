// Random numbers from a counter: Philox4x32-10. There is no state: any thread computes any number.
//
// Word i of the stream `key` = {seed low, seed high, stream} is word i % 4 of philox(key, i / 4).
// SOURCE    Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
// SPEC      bits and uniform (tinygrad_fast/rng.py), bit for bit.
#include "common.cuh"

struct Words { u32 word[4]; };

__device__ __forceinline__ Words philox(const u32* key, i64 block) {
  u32 c0 = (u32)block, c1 = (u32)(block >> 32), c2 = 0, c3 = key[1], k0 = key[0], k1 = key[2];
#pragma unroll
  for (int round = 0; round < 10; round++) {
    u32 high0 = __umulhi(c0, 0xD2511F53), low0 = c0 * 0xD2511F53;
    u32 high1 = __umulhi(c2, 0xCD9E8D57), low1 = c2 * 0xCD9E8D57;
    c0 = high1 ^ c1 ^ k0, c1 = low1, c2 = high0 ^ c3 ^ k1, c3 = low0;
    k0 += 0x9E3779B9, k1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

// In [0, 1): the upper 24 bits over 2^24, exact in a float.
__device__ __forceinline__ float uniform_of(u32 word) { return (word >> 8) * 0x1p-24f; }
