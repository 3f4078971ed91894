"""Measurements and runs on real input, by hand: `python -m benchmarks --help`."""
