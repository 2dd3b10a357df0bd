"""Loss scaling: float16 gradients below 6e-8 are 0, so the loss is multiplied by a number that keeps them above it.

The number is found by trying. Gradients are linear in the loss, so those of scale * loss are scale times too large and
are divided before the step. Where one of them overflows, the step is skipped and the scale halved; after
`growth_interval` steps in a row without that it is doubled. bfloat16 has float32's range and needs none of this.

All of it stays on the device: the scale, the verdict on a step, how many were skipped. On a GPU the optimiser's kernels
look at the verdict themselves and leave everything as it is, so that the host never waits, and a step can be captured.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes
from ..backend.graph import if_capture_fails, refuse_in_capture
from ..tensor import Tensor, wrap
from ..tensor.promote import cast_to

LEAST, MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)  # the loss is float32, so is the scale


class GradScaler:
    """scaler.scale(loss).backward(); scaler.step(opt); scaler.update()

    device: taken as PyTorch's, and not needed: gradients are unscaled where they lie. init_scale: the first scale, a
    power of 2, so that scaling rounds nothing. enabled=False: every method does nothing but `step`, which steps.
    `skipped_steps` counts the steps that were not taken.

    Gradients are unscaled and searched for inf and NaN by `unscale_` of the backend, one launch for a list, the verdict
    a flag on the device. A step waits for nothing, with the optimisers of this package on one GPU; with others
    (`Optimizer.supports`), or parameters on several devices, `step` reads the flag. What reads numbers from the device:
    `get_scale`, `skipped_steps`, `overflowed`, `state_dict`.
    Source: PyTorch's torch.amp.GradScaler; Micikevicius et al., "Mixed Precision Training", 2018, section 3.2.
    """

    def __init__(
        self,
        device: Any = None,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        if not (LEAST <= init_scale <= MOST and growth_factor > 1 and 0 < backoff_factor < 1 and growth_interval >= 1):
            raise ValueError(
                "GradScaler: needs init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1 and growth_interval >= 1; "
                f"got {init_scale}, {growth_factor}, {backoff_factor} and {growth_interval}"
            )
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.enabled = enabled
        self._numbers = np.array([init_scale, 1 / init_scale, 0, 0])  # scale, 1 / scale, good steps in a row, skipped
        self._xp: Any = None  # the machine of the first loss: from then on the numbers lie there,
        self._on_device: Any = None  # in this array
        self._rounds: dict[Any, _Round] = {}  # what happened to each optimiser since the last update

    def is_enabled(self) -> bool:
        return self.enabled

    def get_scale(self) -> float:
        """What the loss is multiplied by now; 1 if not enabled."""
        return self._read()[0] if self.enabled else 1.0

    @property
    def skipped_steps(self) -> int:
        """How many steps were not taken, as of the last `update`."""
        return int(self._read()[3])

    def _read(self) -> list[float]:
        return (self._numbers if self._xp is None else self._xp.to_numpy(self._on_device)).tolist()

    def _write(self, scale: float, good: float, skipped: float) -> None:
        """Set the numbers, in the memory where they lie, so that a captured step finds them."""
        self._numbers = np.array([scale, 1 / scale, good, skipped])
        if self._xp is not None:
            self._xp.write_(self._on_device, self._xp.asarray(self._numbers))

    def _number(self, i: int, xp: Any) -> Any:
        """One of the numbers, 0-d, on a machine."""
        if self._xp is None:
            self._xp, self._on_device = xp, xp.asarray(self._numbers)
        there = self._on_device if xp is self._xp else xp.asarray(self._xp.to_numpy(self._on_device))
        return xp.getitem(there, key=(i,))

    def scale(self, outputs: Any) -> Any:
        """A loss times the scale, or a list or tuple of them; 16-bit ones as float32."""
        if not self.enabled:
            return outputs
        if type(outputs) in (list, tuple):
            return type(outputs)(self.scale(y) for y in outputs)
        y = cast_to(outputs, dtypes.float32) if dtypes.is_half(outputs.dtype) else outputs
        scale = y.xp.copy(self._number(0, y.xp))  # what the tape keeps, `update` must not change
        return y * wrap(y.xp.cast(scale, dtype=y.dtype), y.xp, [0])

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimiser's parameters by the scale, in place: what clipping must come after.

        `step` does it if nobody has. Raises RuntimeError the second time between two updates, and ValueError for 16-bit
        gradients, which the scale protects only as long as they are scaled.
        """
        if not self.enabled:
            return
        if optimizer in self._rounds:
            done = "stepped" if self._rounds[optimizer].stepped else "unscaled"
            raise RuntimeError(
                f"unscale_: this optimiser was {done} already since the last update(); "
                "unscale each once a step, and call scaler.update() after the step"
            )
        gradients = _gradients(optimizer)
        if_capture_fails(self._rounds.pop, optimizer, None)
        found = self._rounds[optimizer] = _Round()
        for xp, gs in gradients.items():
            flag = found.flags[xp] = xp.full((), 0, dtypes.int32)
            xp.unscale_(gs, self._number(1, xp), flag)

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step(...), unless a gradient is inf or NaN: then nothing, and None comes back.

        Unscales first, if nobody has. Raises RuntimeError for a second step before `update`, and for a closure.
        """
        if not self.enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or args:
            raise RuntimeError("step: a closure cannot be scaled; run forward, scale(loss).backward(), then step")
        return optimizer.step(**kwargs) if self.ready(optimizer) else None

    def ready(self, optimizer: Any) -> bool:
        """For a loop that calls `optimizer.step()` itself right afterwards: False if it must not.

        Unscales first, if nobody has. Where the optimiser can skip a step by itself it gets the flag, and this is True.
        """
        if not self.enabled:
            return True
        found = self._round(optimizer)
        if found.stepped:
            raise RuntimeError("step: this optimiser was stepped already since the last update(); call scaler.update()")
        found.stepped = True
        supported = "skip" in getattr(optimizer, "supports", ())
        if len(found.flags) > 1 or any(xp.on_host for xp in found.flags) or not supported:
            refuse_in_capture(
                f"asks the host whether a step of {type(optimizer).__name__} is to be left out",
                'Its parameters must be on one GPU, its `supports` name "skip", and its update(..., skip=(flag, '
                "skipped)) write nothing where the flag is 1, and take `skipped` off a step count in hyper. Or train "
                "in bfloat16, which needs no loss scaling",
            )
            return not found.overflowed()
        if_capture_fails(setattr, optimizer, "skip", {})
        optimizer.skip = dict(found.flags)
        return True

    def overflowed(self, optimizer: Any) -> bool:
        """True if a gradient is inf or NaN, so that the step is skipped. Unscales first, if nobody has.

        The host waits here.
        """
        return self.enabled and self._round(optimizer).overflowed()

    def _round(self, optimizer: Any) -> _Round:
        """The verdict on this optimiser's gradients."""
        if optimizer not in self._rounds:
            self.unscale_(optimizer)
        if not (found := self._rounds[optimizer]).flags:
            raise RuntimeError("step: no parameter of this optimiser has a gradient; call scale(loss).backward() first")
        return found

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """The scale of the next step: times backoff_factor if a gradient overflowed, times growth_factor after
        growth_interval steps in a row without. Or `new_scale`.

        Raises RuntimeError if no gradients were looked at since the last update.
        """
        if not self.enabled:
            return
        rounds, self._rounds = [found for found in self._rounds.values() if found.flags], {}
        if new_scale is not None:
            _, _, good, skipped = self._read()
            self._write(float(new_scale), good, skipped + sum(found.overflowed() for found in rounds))
            return
        if not rounds:
            raise RuntimeError("update: no gradients were unscaled since the last update(); call step(optimizer) first")
        xp = self._xp
        flags = [found.flag(xp) for found in rounds]
        xp.update_scale_(self._on_device, flags, self.growth_factor, self.backoff_factor, self.growth_interval)

    def state_dict(self) -> dict[str, Any]:
        """What goes on after a break: scale, factors, and how long it went well; {} if not enabled."""
        if not self.enabled:
            return {}
        scale, _, good, _ = self._read()
        return {
            "scale": scale,
            "growth_factor": self.growth_factor,
            "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval,
            "_growth_tracker": int(good),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on as `state_dict()` says. Raises RuntimeError for the empty one of a scaler that was not enabled."""
        if not self.enabled:
            return
        if not state_dict:
            raise RuntimeError("load_state_dict: got the state of a scaler that was not enabled, which is empty")
        self._write(float(state_dict["scale"]), int(state_dict["_growth_tracker"]), self._read()[3])
        self.growth_factor, self.backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self.growth_interval = state_dict["growth_interval"]


class _Round:
    """One optimiser between two updates: the flags on the machines of its gradients, and what they said."""

    def __init__(self) -> None:
        self.flags: dict[Any, Any] = {}
        self.stepped = False
        self._overflowed: bool | None = None

    def overflowed(self) -> bool:
        if self._overflowed is None:
            self._overflowed = any(bool(xp.to_numpy(flag)) for xp, flag in self.flags.items())
        return self._overflowed

    def flag(self, xp: Any) -> Any:
        """The verdict as a flag on one machine; read and sent there unless all gradients lie there."""
        return self.flags[xp] if list(self.flags) == [xp] else xp.full((), int(self.overflowed()), dtypes.int32)


def _gradients(optimizer: Any) -> dict[Any, list]:
    """The arrays of an optimiser's gradients, by machine."""
    found: dict[Any, list] = {}
    parameters: Iterable[Tensor] = (p for group in optimizer.param_groups for p in group["params"])
    for p in parameters:
        if p.node is not None and p.node.grad is not None:
            if dtypes.is_half(p.dtype):
                raise ValueError(
                    f"unscale_: parameters must be float32, autocast casts them; got {p.dtype}, shape {p.shape}. "
                    "Write model.float()"
                )
            found.setdefault(p.xp, []).append(p.node.grad)
    return found
