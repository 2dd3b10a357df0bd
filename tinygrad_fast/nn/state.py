"""Loading a state into tensors: first everything is checked, then everything is copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from ..creation import as_tensor
from ..tape import setting
from ..tensor import Tensor


class Loaded(NamedTuple):
    """What `load_state_dict` returns: names that were not given, names that were not wanted."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(owner: str, own: dict[str, Tensor], given: Mapping[str, Any], strict: bool) -> Loaded:
    """Copy `given` into the tensors of `own`, in place: memory order, dtype and device stay, versions are bumped."""
    if not isinstance(given, Mapping):
        raise TypeError(f"load_state_dict: needs a dict of Tensors; got {type(given).__name__}")
    foreign = next((v for v in given.values() if type(v).__module__.partition(".")[0] == "torch"), None)
    if foreign is not None:
        raise TypeError(
            "load_state_dict: needs tinygrad_fast's Tensors; got PyTorch's. "
            "Write {k: tf.from_numpy(v.numpy()) for k, v in state.items()}"
        )
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    problems = [p for name in own if name in given and (p := _problem(name, own[name], given[name]))]
    if strict and missing:
        problems.append(f"missing: {', '.join(missing)}")
    if strict and unexpected:
        problems.append(f"unexpected: {', '.join(map(str, unexpected))}")
    if problems:
        advice = ["strict=False loads the names that both have"] if strict and (missing or unexpected) else []
        lines = [f"load_state_dict: this state does not fit {owner}; nothing was loaded", *problems, *advice]
        raise RuntimeError("\n  ".join(lines))
    with setting(record=False):
        for name, t in own.items():
            if name in given:
                t.copy_(as_tensor(given[name]))
    return Loaded(missing, unexpected)


def _problem(name: str, t: Tensor, value: Any) -> str | None:
    """Why `value` cannot be copied into t, if so."""
    if not isinstance(value, (Tensor, np.ndarray)):
        return f"{name}: must be a Tensor; got {type(value).__name__}"
    if value.shape != t.shape:
        return f"{name}: must have shape {t.shape}; got {value.shape}"
    if dtypes.rank(value.dtype) > dtypes.rank(t.dtype):
        return f"{name}: must be {t.dtype}; got {value.dtype}"
    return None
