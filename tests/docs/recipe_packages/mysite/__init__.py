"""The Django project of the reader of `docs/recipes.md`, with one model."""
