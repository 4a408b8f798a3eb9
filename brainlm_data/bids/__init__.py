"""What is in a BIDS dataset: recordings, subjects, fieldmaps, and what was left aside."""
