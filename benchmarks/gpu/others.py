"""The cases of kernels that decide no training step of a ResNet: one each, so that every kernel has one.

`ours_others.py` and `peer_others.py` say what they run, as `ours.py` and `peer.py` do.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from .case import FUSED, Array, Case, moving

PAIR = {"kernel": 3, "stride": 1, "padding": 1}


def others(small: bool) -> Iterator[Case]:
    yield from reductions(small)
    yield from pixels(small)
    yield from windows(small)
    yield from lookups(small)
    yield from convolutions(small)
    yield from updates(small)


def case(
    title: str, family: str, name: str, dtype: str, arrays: tuple, moved: float, static: dict[str, Any], **more: Any
) -> Case:
    return Case(f"{title}, {dtype}", family, name, dtype, arrays, static, moved, **more)


def reductions(small: bool) -> Iterator[Case]:
    m, n = (8, 64) if small else (16384, 4096)
    rows, static = (Array((m, n)),), {"axis": 1, "pass": "rest"}
    for name in ("amax", "amin", "argmax", "argmin", "var", "logsumexp"):
        title, moved = f"{name} {m} x {n} over rows", 4.0 * (m * n + m)
        yield case(title, "reduce", name, "float32", rows, moved, static, depth=n)
    title, back = f"logsumexp {m} x {n}, back", (Array((m, 1)), *rows)
    yield case(title, "reduce", "logsumexp_back", "float32", back, 8.0 * m * n, static)
    m, n = m * n // 16, 16  # of longer rows nothing but 0 would be left
    title, tall = f"prod {m} x {n} over rows", (Array((m, n), "share"),)
    yield case(title, "reduce", "prod", "float32", tall, 4.0 * (m * n + m), static)
    m, n = (8, 40) if small else (8192, 10_000)
    both, b, title = (Array((m, n)), Array((m, n), "share")), 4 * m * n, f"soft cross_entropy {m} x {n}"
    yield from moving(title, "loss", "soft_cross_entropy", "float32", (both, 2 * b), (both, 3 * b))


def pixels(small: bool) -> Iterator[Case]:
    n, c, h = (2, 8, 6) if small else (256, 64, 32)
    x, grid = Array((n, c, h, h)), Array((n, h, h, 2), "grid")
    b, title = 2 * prod(x.shape), f"grid_sample {c} @{h}, batch {n}"
    for name, arrays, moved in (("", (x, grid), 2 * b), ("_dx", (x, grid), 2 * b), ("_dgrid", (x, x, grid), 2 * b)):
        more = {"kinks": name == "_dgrid", "depth": c}
        yield case(
            f"{title}{name.replace('_', ', ')}", "image", f"grid_sample{name}", "float16", arrays, moved, {}, **more
        )
    for n, h, size in ((2, 8, 8), (2, 13, 6)) if small else ((512, 32, 32), (64, 460, 224)):
        x, place = Array((n, 3, h, h), "byte"), Array((n, 3, 3), "place", size, wide=True)
        light, scale = Array((n, 2), "share", wide=True), Array((3,), "share", wide=True)
        arrays, moved = (x, place, light, scale, scale), n * (3 * h * h + 6 * size * size)  # bytes in, float16 out
        title = f"augment 3 @{h} to {size}, batch {n}"
        yield case(title, "image", "augment", "float16", arrays, moved, {"size": size}, kinks=True)


def windows(small: bool) -> Iterator[Case]:
    n, c, h = (2, 8, 6) if small else (256, 64, 32)
    x, y = Array((n, c, h, h)), Array((n, 9 * c, h * h))
    b, title = 2 * prod(x.shape), f"3x3, {c} @{h}, batch {n}"
    yield case(f"unfold {title}", "pool", "unfold", "float16", (x,), 10 * b, PAIR)
    yield case(f"fold {title}", "pool", "fold", "float16", (y,), 10 * b, PAIR | {"hw": (h, h)}, depth=9)
    yield case(f"max_pool2d_at {title}", "pool", "max_pool2d_at", "float16", (x,), 2 * b + b // 2, PAIR)
    wide, size = Array((n, c, h, h)), (2, 2) if small else (4, 4)
    moved, static = 2 * b + 8 * n * c * prod(size), {"size": size}
    title = f"adaptive_max_index {size[0]}x{size[1]}, {c} @{h}, batch {n}"
    yield case(title, "pool", "adaptive_max_index", "float32", (wide,), moved, static)


def lookups(small: bool) -> Iterator[Case]:
    rows, width, count = (50, 16, 24) if small else (50_257, 768, 16 * 1024)
    arrays, moved = (Array((count,), "index", rows), Array((count, width))), 4 * width * (count + rows)
    title = f"embedding {rows} x {width}, {count} indices, back by atomics"
    yield case(title, "index", "embedding_back_atomic", "float32", arrays, moved, {"rows": rows}, depth=9)
    m, n, k = (8, 4, 20) if small else (32768, 16, 1024)
    arrays, moved, title = (Array((m, n), "index", k), Array((m, n))), 4 * m * (3 * n + k), f"gather {n} of {m} x {k}"
    yield case(f"{title}, back", "index", "gather_back", "float32", arrays, moved, {"size": k})
    n = 1000 if small else 1 << 24
    yield case("check_indices 16M", "index", "check_indices", "float32", (Array((n,), "index", n),), 16 * n, {"n": n})
    yield case("uniform 16M", "dropout", "uniform", "float32", (Array((n // 8, 8)),), 4 * n, {})


def convolutions(small: bool) -> Iterator[Case]:
    """Depthwise ones, and those of the first rung, conv2d.cu."""
    for name, batch, c, groups, rung in (("depthwise", 128, 128, 128, ""), ("by naive", 32, 64, 1, "naive")):
        h, title = 32, f"conv2d 3x3 {name}, {c} @32, batch {batch}"
        if small:
            batch, c, h, groups = 2, 16, 6, min(groups, 16)
        x, w, deep = Array((batch, c, h, h)), Array((c, c // groups, 3, 3), "weight"), 9 * c // groups
        for what, arrays, more, depth in (
            ("forward", (x, w), {}, deep),
            ("dx", (x, w), {"hw": (h, h)}, deep),
            ("dw", (x, x), {"k": (3, 3)}, batch * h * h),
        ):
            static = {"stride": 1, "padding": 1, "groups": groups, "pass": f"{what} {name}", **more}
            function = "conv2d" if what == "forward" else f"conv2d_{what}"
            work = {"flop": 2 * prod(x.shape) * deep, "depth": depth, "rung": rung}
            yield case(f"{title}, {what}", "conv", function, "float16", arrays, 4 * prod(x.shape), static, **work)


def updates(small: bool) -> Iterator[Case]:
    shapes = [(5, 3), (7,)] if small else [(512, 4608), (2048, 512), (512,), (1000, 512)] * 2
    n = sum(map(prod, shapes))
    for name, kinds, passes in (
        ("rmsprop", ("weight", "normal", "share"), 5),
        ("clip_grad_value", ("normal",), 2),
        ("unscale", ("normal",), 2),
    ):
        arrays, static = tuple(Array(shape, kind) for kind in kinds for shape in shapes), {"lists": len(kinds)}
        title = f"{name} of {len(shapes)} parameters"
        yield case(title, "optim", name, "float32", arrays, 4 * passes * n, static, aims=FUSED)
    four = tuple(Array((64,), "share", wide=True) for _ in range(4))
    yield case("running statistics of batch_norm, 64", "norm", "batch_norm_remember", "float32", four, 24 * 64, {})
