"""Guards: the demands of a view."""
