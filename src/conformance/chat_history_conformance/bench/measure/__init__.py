"""Measure the operations of a history."""
