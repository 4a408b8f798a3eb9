"""brainlm: the one command. It runs the DAG of `brainlm_data` and `brainlm_model` by Snakemake and owns the terminal.

`cli` is the door, `run` leads from words to the exit status: `options` parses them, `settings` composes the
configuration from what the folder remembers, files and options, `engine` is Snakemake as a child process, `screen` and
`progress` say how far it is. `places` knows where the workflow lies, in a checkout or in the installed package.
"""
