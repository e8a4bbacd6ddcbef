"""How exactly a server keeps the time of its callers."""
