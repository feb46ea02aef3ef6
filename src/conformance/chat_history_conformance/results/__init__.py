"""Results as frozen values, and the verdict computed from them."""
