"""The command `history-conformance`, one module for each of its commands."""
