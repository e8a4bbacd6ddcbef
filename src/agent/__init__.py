"""The voice agent: conversations, vendors, tools and operations over the media core `fastaudio`."""

__version__ = "0.1.0"
