"""Optimisers, with PyTorch's names, defaults and formulas. optimizer.py holds what they share; each update itself is a
function of the backend over lists of arrays, defined in `backend/updates.py`.
"""

from .adam import Adam as Adam, AdamW as AdamW
from .optimizer import Optimizer as Optimizer
from .rmsprop import RMSprop as RMSprop
from .sgd import SGD as SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]
