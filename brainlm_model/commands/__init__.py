"""Commands of `brainlm-model` that are no stages of the DAG."""
