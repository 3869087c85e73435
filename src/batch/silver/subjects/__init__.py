"""The conforming of each CSV source: pure functions, bronze rows in, conformed rows out."""
