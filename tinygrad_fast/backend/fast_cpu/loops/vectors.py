"""Code written instruction by instruction (LLVM's), for the few places where numbers must stay in vector registers.

An intrinsic of Numba is a Python function that writes code into whoever calls it; `Code` is what it writes with. A
`Vector` stands for LANES numbers in a register, and arithmetic with it writes instructions, so that what is computed
can be read as a formula. From a loop over an array the compiler would make the same instructions, and a load and a
store around each: it cannot know that the numbers may stay where they are.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.core.registry import cpu_target

WIDE = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
LANES = 16 if WIDE else 8  # numbers in a vector

VECTOR, NUMBER, INTEGER = ir.VectorType(ir.FloatType(), LANES), ir.FloatType(), ir.IntType(64)
FLAGS = ("reassoc", "contract", "nsz")  # a product and a sum may become one instruction; NaN and infinity stay


class Vector:
    """LANES numbers in a register; `value` is LLVM's name for them."""

    def __init__(self, builder: Any, value: Any):
        self.builder, self.value = builder, value

    def _with(self, write: Any, other: Any) -> Vector:
        if not isinstance(other, Vector):
            other = constant(self.builder, other)
        return Vector(self.builder, write(self.value, other.value, flags=FLAGS))

    def __add__(self, other: Any) -> Vector:
        return self._with(self.builder.fadd, other)

    def __sub__(self, other: Any) -> Vector:
        return self._with(self.builder.fsub, other)

    def __mul__(self, other: Any) -> Vector:
        return self._with(self.builder.fmul, other)

    __rmul__ = __mul__

    def at_least(self, floor: Vector) -> Vector:
        """The larger of the two; NaN stays."""
        below = self.builder.fcmp_ordered("<", self.value, floor.value)
        return Vector(self.builder, self.builder.select(below, floor.value, self.value))


def constant(builder: Any, number: float) -> Vector:
    return Vector(builder, ir.Constant(VECTOR, [NUMBER(float(number))] * LANES))


class Code:
    """What an intrinsic writes with: `of(i)` are the numbers of its argument i, a flat array; places are integers."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any):
        self.context, self.builder, self.signature, self.args = context, builder, signature, args

    def of(self, i: int) -> Any:
        return self.context.make_array(self.signature.args[i])(self.context, self.builder, self.args[i]).data

    def plus(self, base: Any, *terms: tuple[Any, Any]) -> Any:
        """base + a b + c d + ..., of integers"""
        for a, b in terms:
            base = self.builder.add(base, self.builder.mul(_whole(a), _whole(b)))
        return base

    def pointer(self, numbers: Any, place: Any) -> Any:
        return self.builder.gep(numbers, [place])

    def load(self, pointer: Any) -> Vector:
        """The vector that begins where pointer says"""
        pointer = self.builder.bitcast(pointer, VECTOR.as_pointer())
        return Vector(self.builder, self.builder.load(pointer, align=4))

    def store(self, vector: Vector, pointer: Any) -> None:
        pointer = self.builder.bitcast(pointer, VECTOR.as_pointer())
        self.builder.store(vector.value, pointer, align=4)

    def repeated(self, number: Any) -> Vector:
        """A single number in every lane"""
        undefined, first = ir.Constant(VECTOR, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        lane = self.builder.insert_element(undefined, number, first)
        return Vector(self.builder, self.builder.shuffle_vector(lane, undefined, lanes))

    def mixed(self, a: Vector, b: Vector, lanes: list[int]) -> Vector:
        """The numbers of a and then b that lanes names"""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes)
        return Vector(self.builder, self.builder.shuffle_vector(a.value, b.value, mask))

    def either(self, condition: Any, yes: Any, no: Any) -> Any:
        return self.builder.select(condition, yes, no)

    def apart(self) -> Any:
        """Memory for one vector, all zeros, that is in no array: a pointer to its first number"""
        place = cgutils.alloca_once_value(self.builder, constant(self.builder, 0).value)
        return self.builder.bitcast(place, NUMBER.as_pointer())


def _whole(n: Any) -> Any:
    return INTEGER(n) if isinstance(n, int) else n
