"""Networks, what they are made of, and how they are built by name."""
