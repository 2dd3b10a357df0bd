"""What is measured on a GPU, and what it should reach. Knows NumPy alone; next on the way: `others.py`, `inputs.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from math import prod
from typing import Any

from .case import FUSED, SIZES, Array, Case, Shape, moving
from .others import others

LADDER = {  # dtype: the rungs of kernels/matmul.cu that take it, from below
    "float16": ("matmul_naive", "matmul_tiles", "matmul_registers", "matmul_tensor", "matmul_hopper", "matmul_cluster"),
    "float32": ("matmul_naive", "matmul_tiles", "matmul_registers"),
}
STEPS = {"ResNet-9": "resnet9", "ResNet-18": "resnet18"}
FLOP = {"ResNet-9": 0.379e9, "ResNet-18": 0.556e9}  # multiply-adds of an image forward; backward has twice as many

# C > O, kernel, stride, size of the input: every 3x3 and 1x1 of ResNet-18 on CIFAR pictures, of ResNet-50 on ImageNet's
RESNET18 = [(64, 64, 3, 1, 32), (128, 128, 3, 1, 16), (256, 256, 3, 1, 8), (512, 512, 3, 1, 4)]
RESNET18 += [(64, 128, 3, 2, 32), (128, 256, 3, 2, 16), (256, 512, 3, 2, 8)]
RESNET18 += [(64, 128, 1, 2, 32), (128, 256, 1, 2, 16), (256, 512, 1, 2, 8)]
RESNET50 = [(64, 64, 3, 1, 56), (128, 128, 3, 1, 28), (256, 256, 3, 1, 14), (512, 512, 3, 1, 7)]
RESNET50 += [(128, 128, 3, 2, 56), (256, 256, 3, 2, 28), (512, 512, 3, 2, 14), (64, 64, 1, 1, 56)]
for width, h in ((64, 56), (128, 28), (256, 14), (512, 7)):  # of a block: into its 3x3 and out of it
    RESNET50 += [(4 * width, width, 1, 1, h), (width, 4 * width, 1, 1, h)]
    if width > 64:  # the first block of a stage, and the way around it
        RESNET50 += [(2 * width, width, 1, 1, 2 * h), (2 * width, 4 * width, 1, 2, 2 * h)]


@cache
def table(small: bool = False) -> dict[str, Case]:
    """All cases by name, in the order they run. small: the same with a handful of numbers each, for tests."""
    made = [*steps(small), *products(small), *convolutions(small), *losses(small), *norms(small), *pools(small)]
    made += [*reductions(small), *lookups(small), *updates(small), *others(small)]
    assert len({c.name for c in made}) == len(made)
    return {c.name: c for c in made}


def steps(small: bool) -> Iterator[Case]:
    for name, model in STEPS.items():
        for dtype in ("float16", "float32"):
            shape = (4, 8) if small else (512, 3, 32, 32)
            flop = 6 * FLOP[name] * shape[0]
            for way in ("eager", "captured"):  # Python asks for each kernel; or all of them are one CUDA graph
                static = {"model": "mlp 8" if small else model, "pass": way}
                aims = (1.0, 0.0) if (way, dtype) == ("captured", "float16") else None
                title = f"step {name}, batch 512, {dtype}" + ("" if way == "eager" else f", {way}")
                yield Case(title, "step", "step", dtype, (Array(shape),), static, flop=flop, aims=aims)


def products(small: bool) -> Iterator[Case]:
    n = 64 if small else 4096
    for dtype, aim in (("float16", 0.70), ("bfloat16", 0.70), ("float32", 0.85), ("TF32", 0.70)):
        yield product(f"matmul {n}, {dtype}", (n, n), (n, n), dtype, (aim, 0.0))
    m, k = (32, 64) if small else (8192, 4096)
    yield product(f"matmul {m} x {k} @ {k} x {k // 4}, float16", (m, k), (k, k // 4), "float16", (0.70, 0.0))
    b, m = (2, 32) if small else (256, 512)
    yield product(f"matmul {b} x ({m} x 64 @ 64 x {m}), float16", (b, m, 64), (b, 64, m), "float16", None)
    for dtype, rungs in LADDER.items():
        for rung in rungs:
            yield replace(product(f"matmul {n} by {rung}, {dtype}", (n, n), (n, n), dtype, None), rung=rung)


def product(name: str, x: Shape, w: Shape, dtype: str, aims: tuple[float, float] | None) -> Case:
    y = (*x[:-1], w[-1])
    moved = SIZES[dtype] * (prod(x) + prod(w) + prod(y))
    arrays = Array(x), Array(w, "weight")
    return Case(name, "matmul", "matmul", dtype, arrays, {}, moved, 2 * prod(y) * x[-1], x[-1], aims=aims)


def convolutions(small: bool) -> Iterator[Case]:
    for batch, shapes in ((512, RESNET18), (64, RESNET50)):
        for shape in shapes:
            yield from convolution(batch, *shape, "float16", (0.65, 0.0), small)
    yield from convolution(512, 3, 64, 3, 1, 32, "float16", None, small)  # the first layer: its input has no gradient
    for dtype in ("bfloat16", "TF32", "float32"):
        yield from convolution(512, 256, 256, 3, 1, 8, dtype, None, small)
    for c, o, k, _, h in RESNET18[:4]:
        yield normalised(512, c, o, k, h, small)


def convolution(
    batch: int, c: int, o: int, k: int, stride: int, h: int, dtype: str, aims: Any, small: bool
) -> Iterator[Case]:
    title = f"conv2d {k}x{k}{' stride 2' if stride == 2 else ''}, {c}>{o} @{h}, batch {batch}"
    if small:
        batch, c, o, h = 2, min(c, 16), min(o, 32), min(h, 8)
    oh = (h + 2 * (k // 2) - k) // stride + 1
    x, w, y = (batch, c, h, h), (o, c, k, k), (batch, o, oh, oh)
    moved, flop = SIZES[dtype] * (prod(x) + prod(w) + prod(y)), 2 * prod(y) * c * k * k
    geometry = {"stride": stride, "padding": k // 2}
    image, filters, g = Array(x), Array(w, "weight"), Array(y)
    for what, arrays, more, depth in (
        ("forward", (image, filters), {}, c * k * k),
        ("dx", (g, filters), {"hw": (h, h)}, o * k * k),
        ("dw", (g, image), {"k": (k, k)}, batch * oh * oh),
    ):
        if c == 3 and what == "dx":
            continue
        name = "conv2d" if what == "forward" else f"conv2d_{what}"
        static = geometry | more | {"pass": what}
        yield Case(f"{title}, {what}, {dtype}", "conv", name, dtype, arrays, static, moved, flop, depth, aims=aims)


def normalised(batch: int, c: int, o: int, k: int, h: int, small: bool) -> Case:
    """relu(batch norm(conv2d)), as it is trained: the images are written by the one, read and written by the other."""
    title = f"conv2d + batch_norm + relu {k}x{k}, {c}>{o} @{h}, batch {batch}, float16"
    if small:
        batch, c, o, h = 2, min(c, 16), min(o, 32), min(h, 8)
    x, w, y = (batch, c, h, h), (o, c, k, k), (batch, o, h, h)
    moved, flop = 2 * (prod(x) + prod(w) + 3 * prod(y)), 2 * prod(y) * c * k * k
    arrays = (Array(x), Array(w, "weight"), *[Array((o,), "share", wide=True)] * 2)
    static = {"padding": k // 2, "pass": "+ norm"}
    return Case(title, "conv", "conv2d_batch_norm", "float16", arrays, static, moved, flop, c * k * k, aims=(0.65, 0.0))


def losses(small: bool) -> Iterator[Case]:
    for shape in ((512, 10), (8192, 10_000), (512, 100_000), (8, 21, 1 << 18)):  # the last: pixels side by side
        title = f"cross_entropy {' x '.join(map(str, shape))}"
        n, c, *pixels = (8, min(shape[1], 40), *(33 for _ in shape[2:])) if small else shape
        rows = n * prod(pixels)
        for dtype in ("float16", "float32"):
            x, b = (Array((n, c, *pixels)), Array((n, *pixels), "index", c)), SIZES[dtype] * rows * c
            yield from moving(title, "loss", "cross_entropy", dtype, (x, b + 8 * rows), (x, 2 * b + 8 * rows))
    n = 1000 if small else 1 << 25
    for dtype in ("float16", "float32"):
        x, b = (Array((n,)), Array((n,), "share")), SIZES[dtype] * n
        name = "binary_cross_entropy_with_logits"
        yield from moving("BCE with logits 32M", "loss", name, dtype, (x, 2 * b), (x, 3 * b))


def norms(small: bool) -> Iterator[Case]:
    for shape in ((512, 64, 32, 32), (512, 512, 4, 4)):
        title = f"{shape[1]} @{shape[2]}, batch {shape[0]}"
        n, c, h, w = (2, 16, 4, 4) if small else shape
        x, p, b = Array((n, c, h, w)), Array((c,), "share", wide=True), 2 * n * c * h * w
        for name, relu, residual in (("", False, False), (" + relu", True, False), (" + add + relu", True, True)):
            more = (x,) * residual
            yield from moving(
                f"batch_norm{name} {title}", "norm", "batch_norm", "float16",
                ((x, p, p, *more), (3 + residual) * b), ((x, x, p, p, *more), (5 + 2 * residual) * b),
                kinks=relu, relu=relu, residual=residual,
            )  # fmt: skip
    m, n = (4, 64) if small else (16384, 4096)
    for dtype in ("float16", "float32"):
        x, p, b = Array((m, n)), Array((n,), "share"), SIZES[dtype] * m * n
        yield from moving(
            f"layer_norm {m} x {n}", "norm", "layer_norm", dtype, ((x, p, p), 2 * b), ((x, x, p, p), 3 * b)
        )


def pools(small: bool) -> Iterator[Case]:
    for name, shape, kernel, stride, padding in (
        ("max_pool2d", (64, 64, 112, 112), 3, 2, 1),
        ("max_pool2d", (512, 128, 32, 32), 2, 2, 0),
        ("avg_pool2d", (512, 128, 32, 32), 2, 2, 0),
        ("avg_pool2d", (512, 512, 4, 4), 4, 4, 0),
    ):
        title = f"{name} {kernel}x{kernel} stride {stride}, {shape[1]} @{shape[2]}, batch {shape[0]}"
        n, c, h, _ = (2, 16, 8, 8) if small else shape
        out = (h + 2 * padding - kernel) // stride + 1
        x, y = (n, c, h, h), (n, c, out, out)
        b = 2 * prod(x) + (3 if name == "max_pool2d" else 2) * prod(y)  # a maximum keeps its place, a byte
        geometry = {"kernel": kernel, "stride": stride, "padding": padding}
        yield from moving(title, "pool", name, "float16", ((Array(x),), b), ((Array(y), Array(x)), b), **geometry)


def reductions(small: bool) -> Iterator[Case]:
    m, n = (8, 64) if small else (16384, 4096)
    for dtype in ("float16", "float32"):
        for axis, what in (((0, 1), "all"), ((1,), "rows"), ((0,), "columns")):
            left = prod(size for i, size in enumerate((m, n)) if i not in axis)
            title, x = f"sum {m} x {n} over {what}, {dtype}", (Array((m, n), "share"),)
            moved = SIZES[dtype] * (m * n + left)
            yield Case(title, "reduce", "sum", dtype, x, {"axis": axis}, moved, depth=m * n // left, aims=FUSED)
    for name in ("softmax", "log_softmax"):
        m, n = (8, 64) if small else (32768, 1024)
        x, b = Array((m, n)), 2 * m * n
        yield from moving(f"{name} {m} x {n}", "softmax", name, "float16", ((x,), 2 * b), ((x, x), 3 * b))


def lookups(small: bool) -> Iterator[Case]:
    rows, width, count = (50, 16, 24) if small else (50_257, 768, 16 * 1024)
    for dtype in ("float16", "float32"):
        index, w, b = Array((count,), "index", rows), Array((rows, width)), SIZES[dtype] * count * width
        table = SIZES[dtype] * rows * width
        back = (index, Array((count, width))), b + table + 8 * count
        title = f"embedding {rows} x {width}, {count} indices"
        yield from moving(title, "index", "embedding", dtype, ((index, w), 2 * b + 8 * count), back, rows=rows)
    n = 1024 if small else 1 << 26
    b = 2 * n
    x = Array((n // 64, 64))
    yield from moving("dropout 64M", "dropout", "dropout", "float16", ((x,), 2 * b + n), ((x,), 2 * b + n), p=0.5)


def updates(small: bool) -> Iterator[Case]:
    shapes: list[Shape] = [(64, 27), (64,), (64,), (10, 512), (10,)]
    for c, o in ((64, 64), (64, 128), (128, 256), (256, 512)):
        shapes += [(o, 9 * c), (o,), (o,), (o, 9 * o), (o,), (o,)] + [(o, 9 * o), (o,), (o,)] * 2
    shapes = [(5, 3), (7,)] if small else shapes
    n = sum(map(prod, shapes))
    for name, lists, passes in (("sgd", 3, 5), ("adamw", 4, 7), ("clip_grad_norm", 1, 3), ("clipped_sgd", 3, 6)):
        kinds = ("weight", "normal", "normal", "share")[:lists]  # w, g, and what is remembered
        arrays = tuple(Array(shape, kind) for kind in kinds for shape in shapes)
        title = f"{name} of ResNet-18's {len(shapes)} parameters, float32"
        yield Case(title, "optim", name, "float32", arrays, {"lists": lists}, 4 * passes * n, aims=FUSED)
