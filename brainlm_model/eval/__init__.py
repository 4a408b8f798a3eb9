"""Evaluation tasks, one package each; `masked` is the stage `evaluate`, the others are tasks of the paper."""
