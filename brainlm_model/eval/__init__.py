"""Evaluation: `masked` is the stage evaluate; the other packages are the tasks of the paper, in the frame of `task`."""
