"""Measures fastrerank and its peers on the same weights and requests: `python -m benchmarks`."""
