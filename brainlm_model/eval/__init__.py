"""Evaluation tasks, one module each; `brainlm_model/eval/masked/stage.py` is the stage that runs them."""
