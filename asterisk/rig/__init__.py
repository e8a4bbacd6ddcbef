"""A real Asterisk on loopback, and a caller who listens: what the tests in tests/asterisk call."""
