"""What CLS attends to, attention beside functional connectivity, and differences of groups."""
