"""Comparison of the speed of two versions."""
