"""How many calls a host carries: `voice-agent load` tries it, `voice-agent capacity` reckons with it."""
