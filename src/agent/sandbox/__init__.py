"""Deepgram, Groq and Cartesia emulated on their own wire, and a simulated caller."""
