"""Is this gradient right? `gradcheck` for a quick answer, the laws for a proof. For users' own ops as for ours.

    tf.testing.gradcheck(my_function, tf.tensor(x, requires_grad=True))
    tf.testing.prove(my_function, x, device="emulated")                      every law, at one point, on one machine
    tf.testing.slope(tf.testing.Case.of(my_function, x))                     one law
    tf.testing.strategies, tf.testing.Table                                  a table of functions, drawn by hypothesis

Read `row.py` for what a row of the table is, then `laws.py`, `backends.py`, and `mutations.py`: the tester, tested.
hypothesis is needed for `strategies` alone, which is therefore imported by name.
"""

from collections.abc import Callable
from typing import Any

from .backends import (
    Noisy as Noisy,
    Opaque as Opaque,
    Through as Through,
    backends as backends,
    machines as machines,
    opaque as opaque,
)
from .check import GradcheckError as GradcheckError, gradcheck as gradcheck, gradgradcheck as gradgradcheck
from .laws import (
    adjoint as adjoint,
    hessian as hessian,
    layout as layout,
    linearity as linearity,
    purity as purity,
    slope as slope,
)
from .row import Args as Args, Case as Case, Row as Row, Table as Table
from .run import LawError as LawError, Run as Run
from .values import Fill as Fill

LAWS = {f.__name__: f for f in (slope, linearity, adjoint, purity, layout, opaque, hessian, backends)}


def prove(
    call: Callable[..., Any], *arrays: Any, device: str = "cpu", seed: int = 0, static: Any = None, **flags: Any
) -> None:
    """Raise LawError unless the function of Tensors obeys every law at this point, on this device.

    arrays: its arguments, float64 where differentiated; static: its keywords. device: "cpu", "emulated", "cuda", or
    what `backend.register` was told. flags are those of `Row`: linear=True adds the law `adjoint`.
    """
    case = Case.of(call, *arrays, device=device, seed=seed, static=static, **flags)
    for i in case.wanted:
        if case.arrays[i].dtype.itemsize < 8:
            raise ValueError(
                f"prove: differences need arrays of float64; got {case.arrays[i].dtype} at place {i}. "
                'Write x.astype("float64")'
            )
    for name, law in LAWS.items():
        if case.row.obeys(name):
            law(case)
