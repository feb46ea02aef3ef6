"""A run that accounts for its end, even if a history ends the process that runs the contracts."""
