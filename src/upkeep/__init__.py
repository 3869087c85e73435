"""What keeps a lake well for years: what it records of its runs, what is wrong with it and the line that mends it."""
