"""Writes a synthetic landing zone, as dirty as a real delivery, and the manifest that tells the truth about it."""
