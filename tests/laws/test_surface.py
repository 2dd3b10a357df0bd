"""No function without a row: each public name is in the table, or in the list of what has no gradient."""

import inspect
import types

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import Tensor
from tinygrad_fast.testing import strategies as some
from tinygrad_fast.testing.mutants import all_ops, spots

from .table import TABLE

WITHOUT = {  # reason: names
    "answers yes or no, or an index": """
        eq ne lt le gt ge __eq__ __ne__ __lt__ __le__ __gt__ __ge__ equal allclose isclose isnan isinf isfinite
        all any logical_and logical_or logical_xor logical_not __and__ __or__ __xor__ __rand__ __ror__ __rxor__
        __invert__ __contains__ argmax argmin argsort nonzero floor_divide __floordiv__ __rfloordiv__ one_hot
        is_tensor""",
    "makes a tensor of numbers": """
        tensor as_tensor from_numpy from_dlpack zeros ones full eye arange linspace rand randn randint randperm
        zeros_like ones_like full_like rand_like randn_like randint_like load""",
    "leaves the graph": "detach item tolist numpy save",
    "writes in place, which no graph may contain": """
        add_ sub_ mul_ div_ clamp_ copy_ fill_ zero_ requires_grad_
        __iadd__ __isub__ __imul__ __itruediv__ __setitem__""",
    "is a protocol of Python's or NumPy's": """
        __array__ __bool__ __copy__ __deepcopy__ __dlpack__ __dlpack_device__ __float__ __index__ __int__ __len__""",
    "is about the tensor, not its values": """
        dim size numel is_floating_point contiguous backward retain_grad register_hook
        no_grad enable_grad is_grad_enabled is_autocast_enabled manual_seed result_type""",
    "is about the machine": """
        use_deterministic_algorithms are_deterministic_algorithms_enabled
        get_num_threads set_num_threads get_default_device set_default_device
        get_float32_matmul_precision set_float32_matmul_precision""",
    "takes an op, or a method, and makes a function": "apply free",
    "moves to another type or device: differences see the rounding, so test_direct.py asks for its gradient": """
        to float double half bfloat16 int long bool type_as cpu cuda""",
}
SAME = {"clip": "clamp", "__rmatmul__": "matmul"}  # one function, or one line around it
NO_GRADIENT = {
    *("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite", "any", "all", "floor_divide"),
    *("logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor"),
    *("argmax", "argmin", "argsort", "topk", "max_pool2d_index", "adaptive_max_index", "one_hot", "uniform_like"),
}
DIRECT = {"cast"}  # see above: test_direct.py


def functions(holder):
    """Public functions and methods, and the operators."""
    for name in dir(holder):
        thing = inspect.getattr_static(holder, name, None)  # None: loaded late
        operator = name.startswith("__") and name not in dir(object) and holder is Tensor
        if isinstance(thing, types.FunctionType | types.BuiltinFunctionType) and (operator or not name.startswith("_")):
            yield name


def test_every_public_function_has_a_row():
    rows = {row.function for row in TABLE}
    excused = {name for names in WITHOUT.values() for name in names.split()}
    public = {name for holder in (Tensor, tf, F) for name in functions(holder)}
    missing = sorted(n for n in public if SAME.get(n, n) not in rows and n not in excused)
    assert not missing, f"functions without a row in tests/laws: {', '.join(missing)}"
    assert not excused & rows, f"has a row, and is said to need none: {', '.join(sorted(excused & rows))}"


def test_every_row_names_a_public_function():
    known = {name for holder in (Tensor, tf, F) for name in dir(holder)}
    strangers = [r.name for r in TABLE if r.function not in known and not r.function.startswith("ops.")]
    assert not strangers, f"rows of no public function: {', '.join(strangers)}"
    assert len({row.name for row in TABLE}) == len(TABLE), "two rows of one name"


def test_every_op_is_exercised():
    """Also those that only pullbacks call: each op with a gradient has its pullback run by some row."""
    used = {spot.name for row in TABLE for case in some.examples(row, 5) for spot in spots(case)}
    idle = sorted(set(all_ops()) - used - NO_GRADIENT - DIRECT)
    assert not idle, f"ops whose pullback no row runs: {', '.join(idle)}"
