"""The contracts, one module for each family."""
