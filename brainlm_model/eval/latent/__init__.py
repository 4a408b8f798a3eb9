"""The space of embeddings: pictures of it, what it separates, and whether it knows a person again."""
