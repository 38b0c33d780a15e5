"""What a request with a key costs: ``python -m benchmarks --help``. See docs/benchmarks.md."""
