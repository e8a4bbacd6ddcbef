"""`voice-agent top`: what a running agent does, in a terminal.

`source` asks the agent's `/live` page, `view` makes of it what is shown (pure), `app` shows it, `once` prints it.
"""
