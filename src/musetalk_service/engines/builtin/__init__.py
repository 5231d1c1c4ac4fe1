"""The built-in engine: a small network from audio to mouth, drawn by the portrait renderer."""
