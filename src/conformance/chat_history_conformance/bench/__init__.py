"""Benchmarks: what is measured, against what, how often, and what a change did to it."""
