"""Training: the recipe (section `train`), the loop, and what it needs: optimiser, processes, log, step checkpoint."""
