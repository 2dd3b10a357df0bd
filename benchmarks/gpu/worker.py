"""The process that has the GPU: `python -m benchmarks.gpu.worker`, asked once on its standard input, in JSON.

A fault in a kernel takes the process's GPU away, and a kernel that does not end takes the process. So cases run here,
and `__main__.py` starts another such process for the cases that are left. It answers with a line of JSON each:
{"about": ..}, {"built": ..}, {"limits": ..}, {"begins": a case}, a row.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from tinygrad_fast import backend
from tinygrad_fast.backend import cuda

from . import measure
from .cases import table
from .timing import Clock, Events


def place(asked: dict[str, Any]) -> tuple[measure.Place, dict[str, Any]]:
    """The GPU, or the emulator for a rehearsal; and what there is to say about it."""
    notes: list[str] = []
    peer: Any = None
    if not asked["alone"]:
        try:
            from . import peer
        except Exception as error:
            notes.append(f"PyTorch takes no part: {type(error).__name__}: {error}")
    if peer is not None and not asked["rehearse"] and peer.DEVICE == "cpu":
        notes.append("PyTorch takes no part: it finds no GPU")
        peer = None
    versions = {"PyTorch": getattr(peer, "VERSION", "none")}
    if peer is not None:
        versions["cuDNN"] = str(peer.torch.backends.cudnn.version())
    if asked["rehearse"]:
        if peer is not None:
            peer.DEVICE = "cpu"
        about = {"gpu": "the emulator", **versions, "notes": notes}
        return measure.Place(backend.get("emulated"), Clock(), peer, 0, small=True), about
    cupy, xp = cuda.need(), backend.get("cuda")
    device = cupy.cuda.Device()
    found = cupy.cuda.runtime.getDeviceProperties(device.id)
    about = {
        "gpu": found["name"].decode(),
        "processors": found["multiProcessorCount"],
        "CuPy": cupy.__version__,
        "CUDA": f"runtime {cupy.cuda.runtime.runtimeGetVersion()}, driver {cupy.cuda.runtime.driverGetVersion()}",
        **versions,
        "notes": notes,
    }
    l2 = found.get("l2CacheSize", 64 << 20)
    here = measure.Place(
        xp, Events(cupy), peer, l2, compiled=asked["compile"], wait=device.synchronize, enter=device.use
    )
    return here, about


def answers(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    here, about = place(asked)
    yield {"about": about}
    here.limits = asked["limits"]
    if asked["prepares"]:
        chosen = [table(here.small)[name] for name in asked["names"]]
        kernels, failed, seconds = measure.build(here.xp, chosen, here.enter)
        here.free()
        yield {"built": f"{kernels} kernels in {seconds:.0f} s" + (f", {failed} failed" if failed else "")}
        if not here.limits:
            measure.measure_limits(here)
            yield {"limits": here.limits}
    yield from measure.rows(asked["names"], here, asked["deadline"])


def main() -> None:
    for answer in answers(json.loads(sys.stdin.readline())):
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
