"""Masked reconstruction on held-out subjects: stage `evaluate`."""
