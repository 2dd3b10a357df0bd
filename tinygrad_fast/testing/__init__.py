"""Is this gradient right? `gradcheck` for a quick answer, the laws for a proof. For users' own ops as for ours.

    tf.testing.gradcheck(my_function, tf.tensor(x, requires_grad=True))
    tf.testing.slope(tf.testing.Case.of(my_function, x))                     one law, at one point
    tf.testing.strategies, tf.testing.Table                                  a table of functions, drawn by hypothesis

Read `row.py` for what a row of the table is, then `laws.py`, `backends.py`, and `mutations.py`: the tester, tested.
hypothesis is needed for `strategies` alone, which is therefore imported by name.
"""

from .backends import Noisy, Opaque, Through, backends, opaque
from .check import GradcheckError, gradcheck, gradgradcheck
from .laws import adjoint, hessian, layout, linearity, purity, slope
from .row import Args, Case, Row, Table
from .run import LawError, Run
from .values import Fill

LAWS = {f.__name__: f for f in (slope, linearity, adjoint, purity, layout, opaque, hessian, backends)}
