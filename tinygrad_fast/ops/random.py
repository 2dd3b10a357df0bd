"""Ops that draw random numbers. The key comes in as an array (`rng.py`): the same key, the same numbers, always."""

from __future__ import annotations


def uniform_like(xp, x, key):
    """float32 in [0, 1), one for each element of x, counted in order C whatever x's memory order."""
    return xp.uniform_like(x, key), (None, None)


def dropout(xp, x, key, *, p):
    """x / (1 - p) with probability 1 - p, else 0.     dx = g by the same mask.     Srivastava et al. 2014"""
    y, kept = xp.dropout(x, key, p=p)
    return y, (lambda g: xp.dropout_back(g, kept, p=p), None)
