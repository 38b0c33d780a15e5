"""Keys in the tables, and their life."""
