"""Floors and peers that the reference histories are measured against."""
