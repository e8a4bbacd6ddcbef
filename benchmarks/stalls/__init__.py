"""What is left of the speech when the server stands still in the middle of it."""
