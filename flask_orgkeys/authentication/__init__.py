"""Authentication: the key that a request carries."""
