"""Compare the speed of two versions."""
