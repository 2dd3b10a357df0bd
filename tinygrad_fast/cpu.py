"""What a person may ask of the CPU: how much memory it keeps, and to give it back. `tf.cpu.empty_cache()`"""

from __future__ import annotations

from .backend.fast_cpu.layout import memory


def memory_stats() -> dict[str, int]:
    """Bytes of large arrays: `allocated` in use now, `peak` the most ever, `cached` kept for the next ones; and how
    many requests were `reused`, met out of what is kept, and `fresh`."""
    return memory.figures()


def memory_allocated() -> int:
    """Bytes in use by large arrays (of 128 KiB or more)."""
    return memory.figures()["allocated"]


def max_memory_allocated() -> int:
    """The most bytes that were ever in use at once by large arrays."""
    return memory.figures()["peak"]


def empty_cache() -> None:
    """Give the memory that no array uses back to the operating system."""
    memory.release()
