"""Who launches the kernels, a file for each family: the same on a GPU and on the emulator."""

from __future__ import annotations

from .checks import Checks as Checks
from .conv_moments import ConvMoments as ConvMoments
from .indexing import Indexing as Indexing
from .losses import Losses as Losses
from .pools import Pools as Pools
from .products import Products as Products
from .random import Random as Random
from .reductions import Reductions as Reductions
from .sampling import Sampling as Sampling
from .updates import Updates as Updates
