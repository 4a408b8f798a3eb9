"""Commands of `brainlm-model` that are not stages of the DAG."""
