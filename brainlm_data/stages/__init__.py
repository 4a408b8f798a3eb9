"""One module per stage. `brainlm_data.pipeline` lists them in order."""
