"""Benchmarks: time operations, count round trips, compare versions, and render the results."""
