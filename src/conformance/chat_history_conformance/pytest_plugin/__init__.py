"""The parts of the suite that use pytest: options, runs and items."""
