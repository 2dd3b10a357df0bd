"""The CPU at full speed: `CPU` with overrides of what decides a training step."""

from __future__ import annotations

from .base import Sizes as Sizes
from .conv import Convolutions
from .elementwise import Elementwise
from .images import Images
from .linear import Linears
from .loss import Losses
from .norm import Norms
from .pool import Pools
from .updates import Updates


class FastCPU(Convolutions, Norms, Pools, Images, Linears, Losses, Updates, Elementwise):
    """What answers to "cpu"."""

    name = "cpu"
    # Winograd's matrices round five to twelve times as much as the sum they replace; see winograd.py
    rounding = dict.fromkeys(("conv2d", "conv2d_dx", "conv2d_dw"), 12.0)
