"""Pictures: `from tinygrad_fast.vision.all import *` brings all that a session in a notebook needs."""
