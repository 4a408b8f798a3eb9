"""Masked reconstruction by model size, training ratio and amount of data: the table that the paper begins with."""
