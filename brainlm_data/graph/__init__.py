"""What Snakemake asks: the stages' edges over bundles, listings of raw files, needs of jobs, and the outcome."""
