"""The speed layer: the stream of usage events."""
