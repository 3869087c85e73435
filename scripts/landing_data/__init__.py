"""Writes a synthetic landing zone, as dirty as a real delivery, and a manifest with the truth about it."""
