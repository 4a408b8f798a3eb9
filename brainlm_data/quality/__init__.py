"""What stage qc shows and measures: plots, the page, and how well images lie on each other."""
