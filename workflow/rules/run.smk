# One run at a time in an outdir; a SLURM that does not answer is waited for; at the end, what became of the recordings.
from functools import cache

from brainlm_data.graph import slurm
from brainlm_data.graph.index_page import write_index
from brainlm_data.graph.outcome import outcome, taken
from brainlm_data.runner.manifest import COHORT


def forced():
    """What --forcerun, --forceall or --force name: stage -> bundles that are done again, and no receipt is believed."""
    settings = workflow.dag_settings
    words = set(settings.forcerun) | (set(settings.targets) if settings.forcetargets else set())
    return dag.named(dag.stages if settings.forceall else words)


@cache
def plan():
    """What has to be done again, said once."""
    try:
        dag.forced = forced()
        for line in [*taken(dag), *dag.plan.lines(), *dag.estimated()]:
            print(line, file=sys.stderr)
        return dag.plan
    except Exception as error:
        raise in_one_line(error) from None


def scheduled():
    """(stage, bundle) of every job that is going to run."""
    return [(job.rule.name, job.wildcards_dict.get("bundle", COHORT)) for job in workflow.dag.needrun_jobs()]


def index():
    """The page that links all others; where it cannot be written, that is said, and what became of the run stays."""
    try:
        write_index(dag)
    except Exception as error:
        print(f"index.html was not written: {in_words(error, config.get('outdir'))}", file=sys.stderr)


onstart:
    try:
        dag.lock = dag.begin(scheduled())  # kept until this process ends
    except Exception as error:
        raise in_one_line(error) from None
    slurm.keep_waiting()


onsuccess:
    dag.finish()
    index()
    print(outcome(dag), file=sys.stderr)


onerror:
    index()
