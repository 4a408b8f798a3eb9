"""Benchmarks: each runs alone (`python -m benchmarks.<name> --json`) and prints one JSON object."""
