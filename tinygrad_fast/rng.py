"""Random numbers from a counter: Philox4x32-10.

A random number is a function of (key, index), not of what was drawn before: element i of stream s of seed n is the same
on every machine, in any order, by any number of threads. `manual_seed` sets the seed; each draw takes the next stream.

Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011), section 3.3 and table 2;
known answers from their Random123 `kat_vectors` stand in tests/test_rng.py.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # the two multipliers of a round
W0, W1 = 0x9E3779B9, 0xBB67AE85  # what the two key words grow by: golden ratio, sqrt(3) - 1
LOW, SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)
BLOCK = 1 << 14  # counters at a time: what a round works on stays in the cache (2 times faster than all at once)


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Ten rounds over `counter` (4, n) uint32 under `key` (two 32-bit words) -> (4, n) uint32, uniform bits."""
    c0, c1, c2, c3 = (c.astype(np.uint64) for c in counter)
    k0, k1 = int(key[0]), int(key[1])
    for _ in range(10):
        p0, p1 = c0 * M0, c2 * M1  # 32 x 32 -> 64 bits
        c0, c1, c2, c3 = (p1 >> SHIFT) ^ c1 ^ np.uint64(k0), p1 & LOW, (p0 >> SHIFT) ^ c3 ^ np.uint64(k1), p0 & LOW
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)


def bits(key: np.ndarray, n: int, first: int = 0) -> np.ndarray:
    """n random 32-bit words of the stream `key` = [seed low, seed high, stream]: word i % 4 of counter i // 4.

    They begin at word `first`, a multiple of 4.
    """
    words = np.empty((-(-n // 4), 4), np.uint32)
    for start in range(0, len(words), BLOCK):
        blocks = np.arange(start, min(start + BLOCK, len(words)), dtype=np.uint64) + np.uint64(first // 4)
        low, high = (blocks & LOW).astype(np.uint32), (blocks >> SHIFT).astype(np.uint32)
        zero = np.zeros_like(low)
        counter = np.stack([low, high, zero, zero + key[1]])
        words[start : start + BLOCK] = philox(counter, (int(key[0]), int(key[2]))).T
    return words.reshape(-1)[:n]


def uniform(key: np.ndarray, n: int, first: int = 0) -> np.ndarray:
    """n float32 in [0, 1): the upper 24 bits of each word, over 2^24, so that every value is exact."""
    return (bits(key, n, first) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def normal(key: np.ndarray, n: int) -> np.ndarray:
    """n float32 from N(0, 1) by Box-Muller: words 2j and 2j+1 give elements 2j (cosine) and 2j+1 (sine)."""
    u = bits(key, n + n % 2).reshape(-1, 2).astype(np.float64)
    r = np.sqrt(-2 * np.log((u[:, 0] + 1) * 2.0**-32))  # (0, 1]: log never sees 0
    angle = u[:, 1] * (2 * np.pi * 2.0**-32)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], 1).reshape(-1)[:n].astype(np.float32)


class Generator:
    """A seed and the number of streams taken from it so far. `key()` hands out the next stream; safe under threads."""

    def __init__(self, seed: int = 0):
        self._lock = threading.Lock()
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start over: the draws that follow are those that follow every `manual_seed(seed)`."""
        if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool):
            raise TypeError(f"manual_seed: the seed is an integer; got {seed!r}")
        self.seed, self.stream = int(seed) & 0xFFFFFFFFFFFFFFFF, 0
        return self

    def key(self) -> np.ndarray:
        """[seed low, seed high, stream] of the next stream, uint32."""
        with self._lock:
            stream, self.stream = self.stream, self.stream + 1
        return np.array([self.seed & 0xFFFFFFFF, self.seed >> 32, stream & 0xFFFFFFFF], np.uint32)

    def get_state(self) -> dict[str, Any]:
        return {"seed": self.seed, "stream": self.stream}

    def set_state(self, state: dict[str, Any]) -> None:
        self.seed, self.stream = int(state["seed"]), int(state["stream"])


default = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator: weights, dropout masks, shuffles and augmentation that follow are reproducible."""
    return default.manual_seed(seed)
