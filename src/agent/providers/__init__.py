"""Vendors of speech-to-text, language models and text-to-speech, each behind one Protocol."""
