"""Functional network of each parcel, from attention and from baselines."""
