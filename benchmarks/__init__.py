"""tinygrad_fast beside PyTorch: `python -m benchmarks.cpu`, `benchmarks.gpu`. README.md tells how to read them."""
