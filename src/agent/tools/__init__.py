"""What the agent can do for a caller: declared once, validated before it runs."""
