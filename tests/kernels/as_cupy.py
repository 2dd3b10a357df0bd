"""A plugin of pytest, `-p tests.kernels.as_cupy`: `import cupy` gives the stand-in, so that `-m gpu` runs anywhere."""

from . import like_cupy

_installed = like_cupy.installed()  # kept: it ends with the process
_installed.__enter__()
