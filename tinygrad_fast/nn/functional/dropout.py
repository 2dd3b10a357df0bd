"""Dropout. PyTorch's name, arguments and defaults."""

from __future__ import annotations

from ... import ops, rng
from ...tensor import Tensor, apply, wrap
from ...tensor.promote import as_float, must_tensor


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training: 0 with probability p, else x / (1 - p), so that the mean stays. Otherwise x itself.

    The mask is a function of the seed and of each element's place (`tf.manual_seed`): the same on every device and in
    every memory order. Each call takes the next stream of random numbers. `inplace=True` is accepted, and nothing is
    written: use the result. Source: Srivastava et al. 2014.
    """
    must_tensor("dropout", input)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is a probability, 0 <= p <= 1; got {p}")
    x = as_float(input)
    if not training or p == 0:
        return x
    return apply(ops.dropout, x, wrap(x.xp.host_input(rng.default.key), x.xp, [0]), p=float(p))
