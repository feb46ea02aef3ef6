"""Run one contract on one backend."""
