"""Kernels, studied without a GPU: `tf.emulator.trace` prints what a thread of one does. See kernels/README.md."""

from .backend.emulator import trace as trace, why_not as why_not
