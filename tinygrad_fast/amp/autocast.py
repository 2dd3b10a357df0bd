"""autocast: which ops run in a 16-bit float, which in float32, and the casts between.

One table, `RULES`, and one place that asks it: `tensor/core.py:apply`, before an op sees its arrays. Functions that
compare dtypes before that (a matrix product promotes, a convolution wants one type) or are made of several ops (a norm,
the mean squared error) ask earlier, by `tensor/promote.py:autocast_inputs`, under their own names. A cast is an op: its
pullback casts back, so a float32 weight receives a float32 gradient. Next on the way: `grad_scaler.py`.
"""

from __future__ import annotations

from typing import Any

from .. import dtypes, ops
from ..tape import mode, setting
from ..tensor import apply
from ..tensor.core import Core

LOW, WIDE, WIDEST = "the low type", "float32", "the widest type among the inputs"

# PyTorch's lists for CUDA ("Autocast Op Reference" in its documentation), here for every device, as far as there are
# such ops. What is not named runs in the type of its inputs, and mixed inputs meet as they do anywhere. Differences:
# `dot` is a matrix product like any other, `binary_cross_entropy` runs in float32 where PyTorch refuses it, and ops
# that PyTorch's code lists but its documentation does not (logsumexp, huber_loss) are included.
RULES: dict[str, str] = {
    name: rule
    for rule, names in {
        LOW: """
            matmul linear conv1d conv2d conv_transpose2d conv2d_dx conv2d_dw""",
        WIDE: """
            exp expm1 log log1p pow __rtruediv__ reciprocal rsqrt tan softplus
            softmax log_softmax logsumexp sum prod cumsum norm normalize layer_norm group_norm
            cross_entropy soft_cross_entropy nll_loss binary_cross_entropy binary_cross_entropy_with_logits
            mse_loss l1_loss smooth_l1_loss huber_loss""",
        WIDEST: """
            grid_sample batch_norm_residual""",  # batch norm itself: 16-bit images, float32 statistics, as they come
    }.items()
    for name in names.split()
}


class Casts:
    """What `mode.autocast` is inside autocast(): casts the inputs of an op as its row in `RULES` says.

    lows: the low type for each type of device, under None for the others; a type of None: no casts there.
    weights: leaves that were cast, so that a weight used twice is cast once. An entry is worth nothing once the weight
    was written to, or its cast was walked back and its tape released.
    """

    def __init__(self, lows: dict[str | None, Any], weights: dict):
        self.lows, self.weights = lows, weights

    def low(self, device_type: str | None) -> Any:
        return self.lows.get(device_type, self.lows.get(None))

    def __call__(self, name: str, inputs: tuple) -> tuple:
        rule = RULES.get(name)
        if rule is None:
            return inputs
        tensors = [t for t in inputs if isinstance(t, Core) and _casts(t.data.dtype)]
        low = self.low(tensors[0].device.type) if tensors else None
        if low is None:
            return inputs
        if rule is LOW:
            dtype = low
        else:
            dtype = dtypes.float32 if rule is WIDE else dtypes.result_type(*tensors)
        return tuple(
            self._cast(t, dtype) if isinstance(t, Core) and _casts(t.data.dtype) and t.data.dtype != dtype else t
            for t in inputs
        )

    def _cast(self, t: Any, dtype: Any) -> Any:
        if t.node is None or not t.is_leaf:
            return apply(ops.cast, t, dtype=dtype)
        key = (t.node, dtype, mode.record, mode.higher)  # what was cast under no_grad has no gradient
        data, writes, y = self.weights.get(key, (None, 0, None))
        if data is not t.data or writes != t.version[0] or (y.grad_fn and y.grad_fn.edges is None):
            y = apply(ops.cast, t, dtype=dtype)
            self.weights[key] = (t.data, t.version[0], y)
        return y


def _casts(dtype: Any) -> bool:
    """float64 stays: whoever asks for it wants it. So do integers."""
    return dtype == dtypes.float32 or dtypes.is_half(dtype)


class autocast(setting):
    """Run matrix products and convolutions in 16 bits, and what needs the range of float32 in float32 (`RULES`).

    A context or a decorator, for the calling thread. Wrap the forward pass and the loss, not `backward()`: gradients
    are computed in the types of their ops anyway. Weights stay float32, and so are their gradients: the casts are ops.
    A weight is cast once in a context, the outermost of nested ones. `enabled=False` inside turns it off.

    device_type: "cuda", "cpu" or "emulated" for tensors there alone; None: wherever they lie. dtype: float16 or
    bfloat16; by default bfloat16 for "cpu", else float16. Raises ValueError for another. An op that is given `dtype=`
    and stands under float32 in the table gives float32: write `.to(dtype)` after it.
    Source: PyTorch's torch.autocast; Micikevicius et al., "Mixed Precision Training", 2018.

    >>> with tf.autocast(dtype=tf.float16):
    ...     loss = F.cross_entropy(model(x), t)
    >>> loss.backward()
    """

    def __init__(self, device_type: str | None = None, dtype: Any = None, enabled: bool = True):
        super().__init__(autocast=None)
        if device_type is not None and (not isinstance(device_type, str) or ":" in device_type):
            raise ValueError(f'autocast: device_type is a type of device, "cuda" or "cpu"; got {device_type!r}')
        self.device_type, self.enabled = device_type, enabled
        self.dtype = dtypes.dtype_of(("bfloat16" if device_type == "cpu" else "float16") if dtype is None else dtype)
        if not dtypes.is_half(self.dtype):
            raise ValueError(f"autocast: dtype must be float16 or bfloat16; got {self.dtype}")

    def __enter__(self) -> None:
        outer = mode.autocast
        lows = {} if self.device_type is None or outer is None else outer.lows
        lows = {**lows, self.device_type: self.dtype if self.enabled else None}
        weights = {} if outer is None else outer.weights
        self.new = {"autocast": Casts(lows, weights) if any(lows.values()) else None}
        super().__enter__()

    def _recreate_cm(self) -> autocast:
        return autocast(self.device_type, self.dtype, self.enabled)


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """True where ops on tensors of that type of device, "cuda" or "cpu", are cast; None: of a type without its own."""
    return mode.autocast is not None and mode.autocast.low(device_type) is not None
