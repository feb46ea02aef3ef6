"""Render benchmark results for the terminal, as Markdown and as HTML."""
