"""Everything that knows pytest: options, the run, contracts and benchmarks as items."""
