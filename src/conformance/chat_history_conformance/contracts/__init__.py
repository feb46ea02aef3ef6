"""The contracts, one module a family, each readable as the text of the rule."""
