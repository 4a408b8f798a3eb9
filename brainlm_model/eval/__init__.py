"""Evaluation tasks, one module each; `brainlm_model/evaluate.py` is the stage that runs them."""
