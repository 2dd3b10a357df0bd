"""tinygrad_fast beside PyTorch on the CPU: `python -m benchmarks.cpu`. README.md tells how to read what it prints."""
