"""Reports of a search, or of a comparison of searches: tables, figures and an HTML page."""
