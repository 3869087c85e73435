"""Silver: pure functions, conformed rows in, conformed rows out."""
