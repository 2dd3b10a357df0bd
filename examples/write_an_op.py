"""Your own op in four steps: write it, use it, prove it, break it.

    python examples/write_an_op.py

The op is mish(x) = x tanh(softplus(x)) (Misra 2019), a smooth relative of ReLU. With t = tanh(softplus(x)) and
s = sigmoid(x), its slope is t + x s (1 - t^2).
"""

from dataclasses import replace
from itertools import product

from hypothesis import given, settings

import tinygrad_fast as tf
from tinygrad_fast import nn
from tinygrad_fast.testing import LAWS, Args, LawError, Row, machines, strategies as some


# 1. Write it: the value and, below it, the pullback. `xp` is the machine; an op computes through it alone.
def mish(xp, x):
    """x tanh(softplus(x)).     dx = g (t + x s (1 - t^2))"""
    t = xp.tanh(xp.softplus(x, beta=1.0, threshold=20.0))

    def dx(g):
        return xp.mul(g, xp.add(t, xp.mul(xp.mul(x, xp.sigmoid(x)), xp.sub(1, xp.mul(t, t)))))

    return xp.mul(x, t), (dx,)


# 2. Use it: `tf.apply` is the door to the tape, a Module the place where networks look for it.
class Mish(nn.Module):
    def forward(self, x: tf.Tensor) -> tf.Tensor:
        return tf.apply(mish, x)


# 3. Prove it: a row says how to draw arguments; the laws say what must hold. hypothesis looks for a counterexample.
def prove(op) -> None:
    """Every law on every machine, for 20 drawn cases. Raises LawError with the smallest case that breaks one."""

    def draw_arguments(draw, fill) -> Args:
        return Args(fill.normal(draw(some.shapes())))

    row = Row(op.__name__, lambda x: tf.apply(op, x), draw_arguments)

    @settings(max_examples=20, deadline=None, derandomize=True, database=None)
    @given(some.cases(row))
    def laws_hold(case):
        for device, law in product(machines(), LAWS.values()):
            law(replace(case, device=device))

    laws_hold()


# 4. Break it: a proof that cannot fail proves nothing.
def wrong_mish(xp, x):
    """mish, its slope without the second term."""
    t = xp.tanh(xp.softplus(x, beta=1.0, threshold=20.0))
    return xp.mul(x, t), (lambda g: xp.mul(g, t),)


if __name__ == "__main__":
    tf.manual_seed(0)
    x = tf.tensor([-2.0, 0.0, 2.0], requires_grad=True)
    y = Mish()(x)
    y.sum().backward()
    print("mish", y.detach(), "\nslope", x.grad)

    model = nn.Sequential(nn.Linear(2, 16), Mish(), nn.Linear(16, 1))
    inputs, wanted = tf.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), tf.tensor([[0.0], [1], [1], [0]])
    opt = tf.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(200):
        loss = nn.functional.mse_loss(model(inputs), wanted)
        opt.zero_grad()
        loss.backward()
        opt.step()
    print(f"exclusive or, learned with it: loss {loss.item():.6f}")

    prove(mish)
    print(f"{len(LAWS)} laws hold: {', '.join(LAWS)}")
    try:
        prove(wrong_mish)
    except LawError as e:
        print("the wrong one is caught:", str(e).splitlines()[0])
