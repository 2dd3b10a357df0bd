"""tinygrad_fast beside PyTorch on the CPU: `python -m benchmarks.cpu`; on a GPU: `benchmarks.gpu`. README.md tells how to read what it prints."""
