"""Reverse-mode automatic differentiation in 60 lines, with nothing around it.

The whole idea of this framework on one page: a value remembers the values it was made from, and for each of them the
function that carries a gradient back. `tinygrad_fast/tape.py` is this page with memory, errors and speed added.

    python examples/autograd_in_60_lines.py      fits y = a sin(b x) to points, and checks one gradient by differences
"""

import heapq
import itertools
import math

clock = itertools.count()


class Value:
    """A number, and how it was made."""

    def __init__(self, data, *parents):
        self.data, self.parents = data, parents  # parents: pairs (value, pullback)
        self.grad, self.time = 0.0, next(clock)

    def __add__(self, other):
        other = value(other)
        return Value(self.data + other.data, (self, lambda g: g), (other, lambda g: g))

    def __mul__(self, other):
        other = value(other)
        return Value(self.data * other.data, (self, lambda g: g * other.data), (other, lambda g: g * self.data))

    def __sub__(self, other):
        return self + value(other) * -1.0

    def sin(self):
        return Value(math.sin(self.data), (self, lambda g: g * math.cos(self.data)))

    def backward(self):
        """Visit what this value was made from, newest first: a value's gradient is complete before it is passed on."""
        self.grad, frontier, seen = 1.0, [(-self.time, self)], {self}
        while frontier:
            node = heapq.heappop(frontier)[1]
            for parent, pullback in node.parents:
                parent.grad = parent.grad + pullback(node.grad)  # sums: a value may be used twice
                if parent not in seen:
                    seen.add(parent)
                    heapq.heappush(frontier, (-parent.time, parent))


def value(x):
    return x if isinstance(x, Value) else Value(x)


def loss(a, b):
    """The mean squared distance from a sin(b x) to points on 2 sin(1.5 x)."""
    total = Value(0.0)
    for x in (0.1 * i for i in range(1, 21)):
        error = a * (b * x).sin() - 2 * math.sin(1.5 * x)
        total = total + error * error
    return total * (1 / 20)


if __name__ == "__main__":
    h, (a, b) = 1e-6, (Value(1.0), Value(1.0))
    loss(a, b).backward()
    slope = (loss(a, Value(1 + h)).data - loss(a, Value(1 - h)).data) / (2 * h)
    print(f"dloss/db = {b.grad:.6f}, by differences {slope:.6f}")
    for step in range(201):
        y = loss(a, b)
        y.backward()
        if step % 50 == 0:
            print(f"step {step:3d}   loss {y.data:.6f}   a {a.data:.4f}   b {b.data:.4f}")
        a, b = Value(a.data - 0.3 * a.grad), Value(b.data - 0.3 * b.grad)
