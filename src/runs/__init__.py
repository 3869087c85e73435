"""What a run does, in which order, and what is recorded of it; prints nothing, parses no arguments."""
