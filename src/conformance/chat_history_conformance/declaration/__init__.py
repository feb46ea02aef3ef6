"""Declare a backend, and find a declared backend by name."""
