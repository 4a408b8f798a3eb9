"""One module a stage. `brainlm_data.pipeline` lists them in order."""
