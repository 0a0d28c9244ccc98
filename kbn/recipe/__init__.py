"""Recipes: what to tune, on which data, in one YAML file."""
