"""How a tensor prints."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dtypes import bool_, float32, int64, is_float, is_half


def represent(t: Any) -> str:
    """tensor([[1.0000, 2.5000]], requires_grad=True), with dtype and device where they are not the default."""
    a = t.xp.to_numpy(t.data)
    floating = is_float(a.dtype)
    if is_half(a.dtype):
        a = a.astype(np.float32)  # NumPy cannot format bfloat16
    finite = a[np.isfinite(a)] if floating else a
    whole = floating and bool(np.all((finite == np.rint(finite)) & (np.abs(finite) < 1e6)))
    body = np.array2string(
        a,
        separator=", ",
        prefix="tensor(",
        precision=0 if whole else 4,
        suppress_small=whole,  # else powers of ten where the largest is over 1000 times the smallest
        floatmode="fixed" if floating else None,
        threshold=1000,
        edgeitems=3,
        max_line_width=80,
    )
    notes = [body]
    if a.size == 0 and a.ndim > 1:
        notes.append(f"size={a.shape}")
    if t.dtype not in (float32, int64, bool_):
        notes.append(f"dtype={t.dtype.name}")
    if t.device != "cpu":
        notes.append(f"device={str(t.device)!r}")
    if t.grad_fn is not None:
        notes.append(f"grad_fn=<{t.grad_fn.name}>")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    return f"tensor({', '.join(notes)})"
