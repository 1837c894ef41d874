"""What is wrong with a machine for jetpose, and what to do about it."""
