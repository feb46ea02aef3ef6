"""Floors and peers that the reference histories are compared with."""
