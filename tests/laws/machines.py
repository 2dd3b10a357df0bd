"""The fast CPU as the law of backends sees it: cut into pieces so small that every path runs at the sizes drawn here.

At its own sizes an array of a hundred elements takes the plain path, and the law would prove nothing about the others.
"""

from importlib.util import find_spec

from tinygrad_fast import backend
from tinygrad_fast.backend.fast_cpu import FastCPU, Sizes

# Everything is large, a block is a few numbers; C O up to 3 is for one axis, beyond 6 deep: the channels drawn are all
CUT = dict(one_axis=3, lines=64, line=64, passes=64, images=64, sums=64, patches=512, shallow=6)
PIECES = Sizes(least=0, divided=0, together=0, tiles=1, thin=4, chunk=4, shared=64, **CUT)

backend.register("cpu-in-pieces-plain", lambda: FastCPU("plain", PIECES))
if find_spec("numba"):
    backend.register("cpu-in-pieces-compiled", lambda: FastCPU("compiled", PIECES))
