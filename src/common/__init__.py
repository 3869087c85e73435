"""What every layer shares; it knows none of them."""
