"""tinygrad_fast beside PyTorch and CuPy on a GPU: `python -m benchmarks.gpu`. ../README.md tells how to read it."""
