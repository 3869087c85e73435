"""Bronze: what landed, taken as it is, delivery by delivery."""
