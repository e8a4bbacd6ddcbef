"""What the agent costs with many calls talking: CPU and memory a call, and what a turn takes of its own."""
