"""The package of the reader of `docs/recipes.md`: histories that need a declaration."""
