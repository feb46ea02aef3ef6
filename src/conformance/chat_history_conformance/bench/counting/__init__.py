"""Exact counts of the round trips of an operation."""
