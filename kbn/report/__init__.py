"""A finished search as a table and as pictures."""
