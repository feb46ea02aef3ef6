"""Count the round trips of an operation."""
