"""Benchmark results, rendered for the terminal, as Markdown and as HTML."""
