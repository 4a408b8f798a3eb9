"""Decoding what was seen: patterns of visual cortex, a network that learns from them, and the pictures it draws."""
