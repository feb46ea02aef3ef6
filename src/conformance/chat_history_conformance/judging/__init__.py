"""Judging in fresh processes: contracts that could harm others, and findings to be proven."""
