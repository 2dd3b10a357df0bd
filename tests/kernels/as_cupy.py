"""A plugin of pytest, `-p tests.kernels.as_cupy`: `import cupy` gives the stand-in, so that `-m gpu` runs anywhere."""

import sys

from . import like_cupy

for _name in ("cupy", "cupyx", "cupyx.scipy", "cupyx.scipy.special"):
    sys.modules[_name] = like_cupy
