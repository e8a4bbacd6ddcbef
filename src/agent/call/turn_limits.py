"""How long the turn machine bears with whatever does not happen: every state has a deadline and a way on. In ms."""

NOISE_MS = 20_000
"""Something is heard for so long that has no words: the agent asks whether the caller is there."""
FINAL_MS = 900
"""The STT was asked for what it has, or should have had words, and nothing came: it is asked again."""
SOUNDS = 2
"""So many times an answer waits for a sound without words; a noisy line must not keep the agent from answering."""
REST_MS = 1200
"""The agent was cut off, and no words came in this silence: it goes on with what was not heard."""
THINKING_MS = 8_000
"""No audio of an answer for so long, and no tool that runs: every vendor has given up before, or hangs."""
TOOLS_MS = 45_000
"""The same while tools run; each has a time limit of its own."""
SPEAKING_MS = 150_000
"""Longer than the audio of any answer."""
ENDING_MS = 20_000
ASIDE_MS = 1000
"""A "yes" so shortly before the agent has finished answers what it asked, and is no backchannel."""
LATE_WORDS = 2
"""So many words that were spoken before the agent began, and reach us only while it speaks, are left out."""
AHEAD_MS = 700
"""So long before a turn that sounds broken off is taken for whole, its answer is begun: it then comes at once."""
PREROLL_MS = 500
AWAY_MS = 12_000
"""Nobody hears the caller for so long: it goes on with the words that there are."""
BACK_MS = 1500
"""What was kept meanwhile takes its time to be heard."""
