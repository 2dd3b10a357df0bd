"""What the GPU can do at best, measured before anything else: a copy, and the best matrix product of cuBLAS."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from .timing import Timer

COPY = 1 << 30  # bytes: many times larger than the L2 cache
N = 8192
TRIES = 5


def copy(xp: Any, timer: Timer, size: int) -> float:
    """Bytes a second, each read and written: the better of the library's copy and an elementwise kernel."""
    np = xp.np
    a, b = np.empty(size // 4, "float32"), np.empty(size // 4, "float32")
    a[...] = 1
    runs = [lambda: np.copyto(b, a), lambda: np.negative(a, out=b)]
    return 2 * size / min(best(timer, run) for run in runs)


def products(peer: Any, timer: Timer, n: int) -> dict[str, float]:
    """Operations a second of an n x n product by dtype. Random numbers: of zeros a GPU multiplies more."""
    found = {}
    for name, dtype in peer.DTYPES.items():
        m = n if name != "float32" else n // 2
        a, b = (peer.torch.randn(m, m, device=peer.DEVICE).to(dtype) for _ in range(2))
        with peer.exactly(tf32=name == "TF32"), suppress(RuntimeError):  # what the GPU does not have
            found[name] = 2 * m**3 / best(timer, lambda a=a, b=b: peer.torch.matmul(a, b))
    return found


def best(timer: Timer, run: Any) -> float:
    timer.turn([run], 2, 0)
    return min(timer.turn([run], 5, 1e-3).seconds for _ in range(TRIES))


def measure(xp: Any, peer: Any, timer: Timer, small: bool) -> dict[str, float]:
    """{"copy": bytes a second, "float16": operations a second, ...}, the products only where PyTorch is."""
    found = {"copy": copy(xp, timer, 1 << 16 if small else COPY)}
    if peer is not None:
        found |= products(peer, timer, 64 if small else N)
        peer.free()
    return found


def seconds(case: Any, limits: dict[str, float]) -> tuple[float, str]:
    """The least that a case can take, and what it then waits for: "memory" or "products"; (0, "") if unknown."""
    if "copy" not in limits:
        return 0.0, ""
    by_memory = case.moved / limits["copy"]
    by_products = case.flop / limits[case.dtype] if case.dtype in limits else 0.0
    if case.flop and not by_products:
        return 0.0, ""
    return max((by_memory, "memory"), (by_products, "products"))
