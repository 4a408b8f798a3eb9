"""brainlm: the one command. It runs the DAG of `brainlm_data` and `brainlm_model` by Snakemake and owns the terminal.

cli         `brainlm BIDS OUT participant|group`, and the other commands
options     the command line of a run
settings    the configuration of a run: what the folder remembers, and what changes it
places      where the workflow lies: in a checkout, or in the installed package
engine      Snakemake as a child process: its command line, its events, signals
screen      what is shown while it runs; progress has the arithmetic of what is left
completion  shell completion
"""
