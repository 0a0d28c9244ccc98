"""Coarse-to-fine hyperparameter search for KerasTuner."""
