"""Whether float32 products may use the tensor cores, which see 10 of its 23 bits of fraction (TF32)."""

from __future__ import annotations

PRECISIONS = ("highest", "high")
_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """How exactly a GPU multiplies float32 matrices: "highest" (the start) in float32, "high" in TF32 where it can.

    TF32 rounds each operand to 10 bits of fraction, ties away from zero, and sums in float32: the error of a product of
    two numbers is at most 2^-10 of it (float32: 2^-24). It is for GPUs from sm_80 on, where it is several times faster;
    a CPU, and an older GPU, stay exact. float16, bfloat16 and float64 are not changed by it.

    precision: "highest" or "high". Raises ValueError for anything else; PyTorch's "medium" (bfloat16) is not offered.
    Source: torch.set_float32_matmul_precision; "CUDA C++ Programming Guide", Alternate Floating Point.
    """
    global _precision
    if precision not in PRECISIONS:
        raise ValueError(
            f'set_float32_matmul_precision: must be "highest" (float32) or "high" (TF32); got {precision!r}'
        )
    _precision = precision


def get_float32_matmul_precision() -> str:
    """What set_float32_matmul_precision was last given; "highest" before."""
    return _precision
