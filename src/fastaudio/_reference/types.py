"""What bytes may be given as: `collections.abc.Buffer` is there from Python 3.12 on."""

Buffer = bytes | bytearray | memoryview
