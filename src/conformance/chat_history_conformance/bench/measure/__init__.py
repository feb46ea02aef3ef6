"""Measurement of the operations of a history."""
