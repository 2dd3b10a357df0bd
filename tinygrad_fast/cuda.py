"""What a person may ask of a GPU: is there one, which, how much memory it keeps. `tf.cuda.is_available()`

The names are PyTorch's. `device` is a number, "cuda:1", a tensor's device, or None for the current GPU. CuPy is
imported by the first call that needs it; without a GPU the questions about memory answer 0, and `synchronize` and
`empty_cache` do nothing, so that a program may call them anywhere. `python -m tinygrad_fast doctor` says why no GPU
was found.
"""

from __future__ import annotations

from typing import Any

from .backend.graph import CaptureError as CaptureError, refuse_in_capture
from .capture import capture as capture


def is_available() -> bool:
    """True where device="cuda" can be used."""
    from .backend import why_not

    return not why_not("cuda")


def device_count() -> int:
    """The number of GPUs that can be used; 0 where there is none."""
    return _cupy().cuda.runtime.getDeviceCount() if is_available() else 0


def current_device() -> int:
    """The number of the GPU that "cuda" means: 0, unless `set_device` changed it."""
    return _index(None)


def set_device(device: Any) -> None:
    """Let "cuda" mean another GPU from now on, in this thread."""
    _cupy().cuda.Device(_index(device)).use()


def get_device_name(device: Any = None) -> str:
    """ "NVIDIA H100 80GB HBM3", say."""
    return _cupy().cuda.runtime.getDeviceProperties(_index(device))["name"].decode()


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability (major, minor): (9, 0) for Hopper."""
    found = _cupy().cuda.runtime.getDeviceProperties(_index(device))
    return found["major"], found["minor"]


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has done all that was asked of it: before a clock is read."""
    if is_available():
        refuse_in_capture("waits for the GPU: cuda.synchronize()", "Wait outside the step")
        _cupy().cuda.Device(_index(device)).synchronize()


# Memory. CuPy's pool keeps what arrays leave behind for the next ones; the driver knows only the whole of it


def memory_allocated(device: Any = None) -> int:
    """Bytes in use by arrays."""
    return _pool("used_bytes", device)


def memory_reserved(device: Any = None) -> int:
    """Bytes that the pool has from the driver, in use or kept: more or less what `nvidia-smi` shows."""
    return _pool("total_bytes", device)


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use at once.

    CuPy's pool keeps no record of that. Until `reset_peak_memory_stats` is called this is `max_memory_reserved`, which
    is never less; from then on every allocation of the thread that called it is counted, at about a microsecond each.
    """
    if not is_available():
        return 0
    index = _index(device)
    return max(_peaks[index][1], memory_allocated(device)) if index in _peaks else max_memory_reserved(device)


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that the pool had from the driver at once, as far as `empty_cache` alone has given any back."""
    return max(_most_reserved.get(_index(device), 0), memory_reserved(device)) if is_available() else 0


def reset_peak_memory_stats(device: Any = None) -> None:
    """Let the most start again from what is in use now, and count allocations from now on."""
    if not is_available():
        return
    index = _index(device)
    _most_reserved[index] = 0
    _peaks[index] = [memory_allocated(device)] * 2
    if not _watching:
        _watch(_cupy())


def memory_stats(device: Any = None) -> dict[str, int]:
    """Bytes: `allocated` in use now, `peak` the most (see `max_memory_allocated`), `cached` kept for the next arrays.

    As `tf.cpu.memory_stats`; how many requests were `reused` and `fresh` CuPy does not tell.
    """
    peak = max_memory_allocated(device)
    return {"allocated": memory_allocated(device), "peak": peak, "cached": _pool("free_bytes", device)}


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes of the GPU's memory that are free, and that it has: the driver's figures, for all programs together."""
    if not is_available():
        return 0, 0
    with _cupy().cuda.Device(_index(device)):
        return _cupy().cuda.runtime.memGetInfo()


def empty_cache() -> None:
    """Give the memory that no array uses back to the driver, of all GPUs; and page-locked memory to the system."""
    if is_available():
        cupy = _cupy()
        for index in range(device_count()):
            _most_reserved[index] = max_memory_reserved(index)
            with cupy.cuda.Device(index):
                cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()


_most_reserved: dict[int, int] = {}  # by GPU: before `empty_cache` made it less
_peaks: dict[int, list[int]] = {}  # by GPU: bytes in use now, and the most of them
_watching: list[Any] = []  # the hook, once there is one


def _watch(cupy: Any) -> None:
    class Watch(cupy.cuda.MemoryHook):
        name = "tinygrad_fast.cuda"

        def malloc_postprocess(self, *, device_id: int, mem_size: int, **_: Any) -> None:
            self.count(device_id, mem_size)

        def free_postprocess(self, *, device_id: int, mem_size: int, **_: Any) -> None:
            self.count(device_id, -mem_size)

        def count(self, index: int, more: int) -> None:
            if index in _peaks:
                now, most = _peaks[index]
                _peaks[index] = [now + more, max(most, now + more)]

    _watching.append(Watch())
    _watching[0].__enter__()  # for good


def _pool(figure: str, device: Any) -> int:
    if not is_available():
        return 0
    with _cupy().cuda.Device(_index(device)):
        return getattr(_cupy().get_default_memory_pool(), figure)()


def _cupy() -> Any:
    from .backend import cuda

    return cuda.need()


def _index(device: Any) -> int:
    from .backend import cuda

    name = "cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else str(device)
    if name.partition(":")[0] != "cuda":
        raise ValueError(f'cuda: a device is a number, "cuda" or "cuda:1"; got {device!r}')
    return cuda.index_of(name)
