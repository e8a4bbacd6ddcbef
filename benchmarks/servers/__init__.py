"""The servers that are measured beside one another: the media core, a bare C loop, asyncio, and the peers.

Each is a program of its own that listens on 127.0.0.1, prints its port on a line, hears its callers, and plays the same
tone, or file, to each of them all the time. The peers come from their registries, are used unchanged through their own
transports, and carry their names.
"""
