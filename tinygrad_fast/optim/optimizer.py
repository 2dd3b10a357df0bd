"""What optimisers share: groups of parameters, what is remembered of each, saving and loading it.

An optimiser holds Tensors and reads `p.data` and `p.grad` anew at each step, so a model may be moved, frozen or loaded
between steps. What it remembers is kept by the parameter's position, counted through all groups, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from .. import tape
from ..backend.graph import if_capture_fails, refuse_in_capture
from ..tape import Node, mode
from ..tensor import Tensor, wrap

Params = Iterable[Tensor] | Iterable[dict[str, Any]]


class Optimizer:
    """params: Tensors, or groups: dicts with "params" and numbers that differ from `defaults` there.

    `param_groups` are those dicts, completed. `state[i]` is what is remembered of parameter i; its step count includes
    steps that a GradScaler skipped on a GPU, until `state_dict` reads how many, and takes them off. `clip`, set before
    a step, is (total_norm, max_norm): that step reads g as g min(1, max_norm / (total_norm + 1e-6)), and p.grad stays
    as it is; `nn.utils.clip_grad_norm_` in one pass over memory less. Subclasses write `check`, `buffers`, `hyper` and
    `update`.
    Raises ValueError for no parameters, one given twice, the result of an op, and numbers out of range; TypeError for
    what is not a Tensor.
    """

    supports: tuple[str, ...] = ()  # which of skip= and clip= `update` takes, and does as `backend/updates.py` says

    def __init__(self, params: Params, defaults: dict[str, Any]):
        self.defaults, self.param_groups, self.state = defaults, [], {}  # type: ignore[var-annotated]
        self.skip: dict[Any, Any] = {}  # by machine: a flag that says whether to leave out the next step there
        self.clip: tuple[Tensor, float] | None = None
        self._skipped: dict[Any, Any] = {}  # by machine: how many steps were left out, of those that `state` counts
        if isinstance(params, (Tensor, dict)) or not isinstance(params, Iterable):
            raise TypeError(
                f"{self._name}: params is a list of Tensors, or of dicts with them; got a {type(params).__name__}. "
                "Write [x], or model.parameters()"
            )
        given = list(_ordered(self._name, params))
        for group in given if given and isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)
        if not any(group["params"] for group in self.param_groups):
            raise ValueError(
                f"{self._name}: needs at least one parameter; got none. Has the model any that is not frozen?"
            )

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, group: dict[str, Any]) -> None:
        """One more group: {"params": Tensors, "lr": ...}; what it leaves out are the defaults."""
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f'{self._name}: a group is a dict with "params"; got {group!r}')
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(_ordered(self._name, params))
        group = {**self.defaults, **group, "params": params}
        seen = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{self._name}: parameters are Tensors; got a {type(p).__name__}")
            if isinstance(p.node, Node):
                raise ValueError(
                    f"{self._name}: parameters are leaves; got the result of {p.node.name}, shape {p.shape}. "
                    "Make it one with .detach().requires_grad_()"
                )
            if id(p) in seen:
                raise ValueError(f"{self._name}: a parameter of shape {p.shape} is given twice; give each one once")
            seen.add(id(p))
        self._from_0(group, "lr", "weight_decay")  # an optimiser of one's own may have neither
        self.check(group)
        self.param_groups.append(group)

    def _require(self, name: str, group: dict[str, Any], holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{self._name}: {name} must be {rule}; got {group[name]!r}")

    def _from_0(self, group: dict[str, Any], *names: str) -> None:
        for name in names:
            value = group.get(name, 0)
            self._require(name, group, hasattr(value, "__float__") and value >= 0, ">= 0")

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError for a group whose numbers make no sense."""

    def buffers(self, group: dict[str, Any]) -> list[str]:
        """Names of the arrays that are remembered for each parameter; zeros at first."""
        raise NotImplementedError(f"{self._name} needs buffers(group)")

    def hyper(self, group: dict[str, Any], step: int) -> list[float]:
        """The numbers of step `step` (1 at the first), as the update of the backend wants them."""
        raise NotImplementedError(f"{self._name} needs hyper(group, step)")

    def update(
        self, xp: Any, ws: list, gs: list, buffers: list[list], hyper: Any, group: dict[str, Any], **given: Any
    ) -> None:
        """Write `ws` and `buffers` in place: one call of the backend."""
        raise NotImplementedError(f"{self._name} needs update(xp, ws, gs, buffers, hyper, group)")

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Move every parameter that has a gradient; frozen ones and those without are left alone.

        `closure()`, if given, runs forward and backward first; its loss is returned.
        """
        loss = None
        if closure is not None:
            with tape.setting(record=True):
                loss = closure()
        flags, clip, self.skip, self.clip = self.skip, self.clip, {}, None
        if clip is not None and "clip" not in self.supports:
            raise RuntimeError(
                f"{self._name}: its update does not take clip=(norm, max_norm); call nn.utils.clip_grad_norm_ instead"
            )
        first, moved = 0, []
        for group in self.param_groups:
            names = self.buffers(group)
            alike: dict[tuple[Any, int], list] = {}  # one call for parameters of one device and age: mostly one
            for j, p in enumerate(group["params"], first):
                if p.node is not None and (g := p.node.grad) is not None:
                    moved.append(j)
                    state = self.state.get(j) or self._new_state(j)
                    memory = [_buffer(state, name, p) for name in names]
                    alike.setdefault((p.xp, state["step"]), []).append((p, state, p.data, g, *memory))
            for (xp, _), found in alike.items():
                ps, states, ws, gs, *buffers = map(list, zip(*found))
                if_capture_fails(self._undo_host_step, ps, states)
                hyper = xp.host_input(partial(self._host_step, group, ps, states))
                given: dict[str, Any] = {"skip": (flags[xp], self._skipped_on(xp))} if xp in flags else {}
                if clip is not None:
                    given["clip"] = clip[0].to(xp.name).data, clip[1]
                self.update(xp, ws, gs, buffers, hyper, group, **given)
            first += len(group["params"])
        if mode.capture is not None:
            mode.capture.guards.append(partial(self._changed, moved, self._relied_on(moved)))
        for xp, flag in flags.items():
            xp.add_(self._skipped_on(xp), flag)
        return loss

    def _host_step(self, group: dict[str, Any], ps: list[Tensor], states: list[dict]) -> np.ndarray:
        """The host's part of a step, also of one that is replayed: count it, and work out its numbers."""
        for p, state in zip(ps, states):
            p.version[0] += 1
            state["step"] += 1
        return np.array(self.hyper(group, states[0]["step"]), np.float64)

    def _undo_host_step(self, ps: list[Tensor], states: list[dict]) -> None:
        for p, state in zip(ps, states):
            p.version[0] -= 1
            state["step"] -= 1

    def _relied_on(self, moved: list[int]) -> tuple[list[tuple], list[int]]:
        """What a captured step relies on: parameters, their arrays and leaves, what is remembered of each; and by
        how many steps each of those that moved is ahead of the first."""
        params = [p for group in self.param_groups for p in group["params"]]
        found = [(p, p.data, p.node, self.state.get(j)) for j, p in enumerate(params)]
        steps = [self.state[j]["step"] if j in self.state else 0 for j in moved]
        return found, [step - steps[0] for step in steps]

    def _changed(self, moved: list[int], before: tuple[list[tuple], list[int]]) -> str:
        """What has changed since, in words."""
        now, ahead = self._relied_on(moved)
        for (p, *old), (_, *new) in zip(before[0], now):
            if old[0] is not new[0] or old[1] is not new[1]:
                return f"a parameter of shape {p.shape} was moved, frozen or thawed"
            if old[2] is not new[2]:
                return f"the {self._name} has lost or loaded what it remembers"
        if len(now) != len(before[0]):
            return f"the {self._name} has another group of parameters"
        return "" if ahead == before[1] else f"the {self._name} has left a parameter out of a step"

    # A step may be left out without the host's knowing (amp/grad_scaler.py): `state` counts it, the device takes it off

    def _skipped_on(self, xp: Any) -> Any:
        if xp not in self._skipped:
            refuse_in_capture("is the first whose loss is scaled", "Scale the losses of the steps before, too")
            self._skipped[xp] = xp.full((), 0, np.dtype("int32"))
        return self._skipped[xp]

    def _subtract_skipped(self) -> None:
        """Take the steps that were left out off the host's count. Waits for the device, if any may have been."""
        params = [p for group in self.param_groups for p in group["params"]]
        for xp, lost in self._skipped.items():
            if n := xp.numbers(lost):
                xp.write_(lost, 0)
                for j, state in self.state.items():
                    state["step"] -= n if params[j].xp is xp else 0

    def _new_state(self, j: int) -> dict[str, Any]:
        """What is remembered of a parameter, before its first step."""
        self._subtract_skipped()
        if_capture_fails(self.state.pop, j)
        self.state[j] = {"step": 0}
        return self.state[j]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, and what the next step was told of them; or set them to zero, in place."""
        self.skip, self.clip = {}, None
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """{"state": {i: what is remembered of parameter i}, "param_groups": [numbers, "params": places]}; no copies."""
        self._subtract_skipped()
        groups, first = [], 0
        for group in self.param_groups:
            n = len(group["params"])
            groups.append({**group, "params": list(range(first, first + n))})
            first += n
        return {"state": {i: dict(s) for i, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over numbers and memory from `state_dict()` of an optimiser of the same groups; Tensors are copied.

        Raises ValueError where groups or shapes differ, for the state of an optimiser of another kind (a number that it
        lacks, a memory that is not kept here), and changes nothing then.
        """
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= state_dict.keys():
            got = list(state_dict) if isinstance(state_dict, dict) else type(state_dict).__name__
            raise TypeError(f'{self._name}: a state is a dict with "state" and "param_groups"; got {got}')
        given, mine = state_dict["param_groups"], self.param_groups
        sizes, wanted = [len(g["params"]) for g in given], [len(g["params"]) for g in mine]
        if sizes != wanted:
            raise ValueError(f"{self._name}: groups of {wanted} parameters cannot load a state of groups of {sizes}")
        if lacking := sorted({name for g in given for name in self.defaults if name not in g}):
            raise ValueError(f"{self._name}: cannot load the state of another kind of optimiser: it has no {lacking}")
        params = [p for g in mine for p in g["params"]]
        kept = {"step"}.union(*map(self.buffers, given), *self.state.values())
        place = dict(zip((i for g in given for i in g["params"]), range(len(params))))
        state = {}
        for i, memory in state_dict["state"].items():
            p = params[place[i]]
            if others := sorted(memory.keys() - kept):
                raise ValueError(f"{self._name}: remembers {sorted(kept)}, so it cannot load a state with {others}")
            state[place[i]] = {name: _copied(v, name, p) for name, v in memory.items()}
        self._subtract_skipped()
        self.state = state
        for group, new in zip(mine, given):
            group.update({name: v for name, v in new.items() if name != "params"})

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for i, group in enumerate(self.param_groups):
            numbers = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {numbers}")
        return "\n".join([*lines, ")"])


def _ordered(name: str, params: Iterable) -> Iterable:
    if isinstance(params, (set, frozenset)):
        raise TypeError(f"{name}: a set of parameters has no order, and state is kept by position; give a list")
    return params


def _buffer(state: dict[str, Any], name: str, p: Tensor) -> Any:
    """The remembered array, where the parameter lies now; zeros in its memory order at first."""
    t = state.get(name)
    if t is None or t.xp is not p.xp or t.data.dtype != p.data.dtype:
        refuse_in_capture(
            f"makes an optimiser's memory ({name}) anew, and a replay would make it anew each time",
            "Run the step a few times as it is to be captured",
        )
        t = state[name] = wrap(p.xp.copy(p.data), p.xp, [0]).zero_() if t is None else t.to(p)
    return t.data


def _copied(value: Any, name: str, p: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.shape != p.shape:
        raise ValueError(f"load_state_dict: {name} must have its parameter's shape {p.shape}; got {value.shape}")
    return wrap(p.xp.copy(p.data), p.xp, [0]).copy_(value.detach().to(p))
