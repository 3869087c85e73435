"""Gold: pure functions, silver in, marts out."""
