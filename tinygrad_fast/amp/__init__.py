"""Mixed precision: matrix products in 16 bits, everything that would lose by it in 32. PyTorch's names (`torch.amp`).

`autocast.py` says which op runs in which type; `grad_scaler.py` keeps small float16 gradients from becoming 0.
"""

from .autocast import autocast as autocast, is_autocast_enabled as is_autocast_enabled
from .grad_scaler import GradScaler as GradScaler
