"""The run of one contract on one backend in one mode."""
