"""The difference between expected and returned messages, and the script that reproduces it."""
