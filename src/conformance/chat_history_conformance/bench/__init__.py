"""Benchmarks: times of operations, round trips, comparisons of versions, and their reports."""
