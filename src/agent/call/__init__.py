"""One call: its session, its turns, its speech and its history."""
