"""Whether a sum must always be added in one order. `tf.use_deterministic_algorithms(False)`"""

from __future__ import annotations

_required = True


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """True (here the default; PyTorch's is False): the same inputs give the same bits, every time.

    False: a kernel may use float atomics where they are faster, and its sums come out in another order each time. That
    concerns the gradients of reading by index on the GPU, which are sorted and summed in runs otherwise: `embedding`,
    x[index], `gather`, `grid_sample`. `warn_only`, PyTorch's for ops without a deterministic form, changes nothing:
    here every op has one.
    """
    global _required
    if not isinstance(mode, bool):
        raise TypeError(f"use_deterministic_algorithms: mode is True or False; got {mode!r}")
    _required = mode


def are_deterministic_algorithms_enabled() -> bool:
    """True unless `use_deterministic_algorithms(False)` was called."""
    return _required
