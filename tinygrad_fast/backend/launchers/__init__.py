"""Who launches the kernels, a file for each family: the same on a GPU and on the emulator."""

from __future__ import annotations

from .convolutions import Convolutions as Convolutions
from .indexing import Indexing as Indexing
from .losses import Losses as Losses
from .products import Products as Products
from .random import Random as Random
from .sampling import Sampling as Sampling
