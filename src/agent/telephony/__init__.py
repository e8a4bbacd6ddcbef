"""What the dialplan and the agent tell each other: FastAGI, call metadata, what comes next."""
