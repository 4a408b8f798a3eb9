# What the Snakefile and the rules share.
from snakemake.exceptions import WorkflowError

from brainlm_data.errors import in_words
from brainlm_data.graph.events import Events

events = Events()


def told(error):
    """Whatever fails in one line with its remedy, as the commands say it; `brainlm` is told as well."""
    words = in_words(error, config.get("outdir"))
    events.tell("error", message=words.message, remedy=words.remedy)
    return words


def in_one_line(error):
    """An error as Snakemake shows it without a traceback, but for input functions: see `stop`."""
    return WorkflowError(str(told(error)))


def stop(error):
    """End at an error in an input function, which Snakemake would repeat with a traceback."""
    words = told(error)
    print(f"error: {words.message}", *([f"  try: {words.remedy}"] if words.remedy else []), sep="\n", file=sys.stderr)
    raise SystemExit(1)
