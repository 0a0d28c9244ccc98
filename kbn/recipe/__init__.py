"""Recipes: what to tune, on which data, as one YAML file."""
