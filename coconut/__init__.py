"""coconut finds a Kokoro voice that sounds like a given speaker."""

__version__ = "0.1.0"
