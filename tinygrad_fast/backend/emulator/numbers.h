// The bits of floats: 32-bit ones as they are, 16-bit ones exact one way, to the nearest and ties to even the other.
#pragma once
#include <stdint.h>
#include <string.h>

inline float __uint_as_float(unsigned u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}
inline unsigned __float_as_uint(float x) {
  unsigned u;
  memcpy(&u, &x, 4);
  return u;
}

inline float half_to_float(uint16_t h) {  // scaled by 2^112 the bits of a half mean the same as a float's
  float x = __uint_as_float((h & 0x7fffu) << 13) * 0x1p112f;
  if ((h & 0x7c00) == 0x7c00) x = __uint_as_float(0x7f800000u | (h & 0x3ffu) << 13);
  return h & 0x8000 ? -x : x;
}
inline uint16_t float_to_half(float x) {
  unsigned u = __float_as_uint(x), sign = u >> 16 & 0x8000;
  u &= 0x7fffffff;
  if (u > 0x7f800000) return 0x7fff;                     // NaN
  if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00); // 65520 and above
  if (u < 0x38800000)                                    // below 2^-14: the adder rounds at 2^-24
    return (uint16_t)(sign | (__float_as_uint(__uint_as_float(u) + 0.5f) - 0x3f000000));
  return (uint16_t)(sign | (u + 0xfff + (u >> 13 & 1) - 0x38000000) >> 13);
}
inline uint16_t float_to_bfloat(float x) {
  unsigned u = __float_as_uint(x);
  return (u & 0x7fffffff) > 0x7f800000 ? 0x7fff : (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
inline unsigned round_tf32(unsigned u) {  // to 10 bits of fraction, ties away from zero
  return (u & 0x7f800000) == 0x7f800000 ? u : (u + 0x1000) & 0xffffe000;
}
