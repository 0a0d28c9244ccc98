"""Trials in MLflow: a local journal, and its projection into a tracking store."""
