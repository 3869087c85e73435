"""What a table is: its declaration in conf/, read and checked, and the schemas derived from it."""
