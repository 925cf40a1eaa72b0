"""Measurements on real servers: `python -m bench` writes docs/benchmarks.md and bench/results.json."""
