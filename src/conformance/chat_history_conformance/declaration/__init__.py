"""The declaration of backends, and the search for a backend by its name."""
