"""One recipe from start to finish."""
