"""Barge-in: every detector on speech, noise and echo."""
