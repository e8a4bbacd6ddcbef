"""How long a caller waits, from the true end of what they say to the first sound of the answer on the wire."""
