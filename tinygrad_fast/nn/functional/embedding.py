"""Tables with a row for each index: `embedding` reads one, `one_hot` makes the rows of the identity.

PyTorch's names, arguments and defaults.
"""

from __future__ import annotations

from ... import dtypes, ops
from ...shapes import Places, ints
from ...tensor import Tensor, apply
from ...tensor.indexing import checked
from ...tensor.promote import must_tensor, must_tensors


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """weight[input]: rows of weight (rows, D) at integers of any shape -> (*input.shape, D).

    Row `padding_idx` receives no gradient. Raises IndexError for an index outside 0..rows - 1 (on a GPU when a value is
    next read: see docs/devices.md). `max_norm`, `scale_grad_by_freq` and `sparse` are not offered.
    """
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise ValueError("embedding: max_norm, scale_grad_by_freq and sparse are not offered; leave them out")
    must_tensors("embedding", (input, weight))
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must be (rows, D); got {weight.shape}")
    rows = weight.shape[0]
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(f"embedding: padding_idx must be in {-rows}..{rows - 1}; got {padding_idx}")
    index = index_below("embedding", "index", input, rows, "rows of weight")
    return apply(ops.embedding, index, weight, padding_idx=None if padding_idx is None else padding_idx % rows)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 (..., num_classes): 1 at the class, else 0. -1: as many classes as the largest index asks for."""
    must_tensor("one_hot", tensor)
    (num_classes,) = ints("one_hot: num_classes", (num_classes,))
    if num_classes == -1:
        if not tensor.numel():
            raise ValueError("one_hot: with no element, num_classes cannot be found; pass it")
        num_classes = int(tensor.max().item()) + 1
    if num_classes < 1:
        raise ValueError(f"one_hot: num_classes must be at least 1, or -1 to find it; got {num_classes}")
    index = index_below("one_hot", "class index", tensor, num_classes, "classes")
    return apply(ops.one_hot, index, n=num_classes, dtype=dtypes.int64)


def index_below(name: str, what: str, t: Tensor, n: int, of: str, ignored: int | None = None) -> Tensor:
    """t as int64, with every element in 0..n-1, or `ignored`."""
    if t.dtype.kind not in "iu":
        raise TypeError(f"{name}: the {what} must be of an integer dtype; got {t.dtype}. Write .long()")
    return checked(t, Places(name, what, n, of, ignored))
