"""Trained models: their folders, and embeddings of recordings."""
