# One run at a time in an outdir; a SLURM that does not answer is waited for; at the end, what became of the recordings.
from functools import cache

from brainlm_data.graph import slurm
from brainlm_data.graph.outcome import outcome


def forced():
    """Stages that --forcerun, --forceall or --force name: they are done again, and no receipt is believed."""
    settings = workflow.dag_settings
    words = set(settings.forcerun) | (set(settings.targets) if settings.forcetargets else set())
    return frozenset(name for name in dag.stages if settings.forceall or name in words)


@cache
def plan():
    """What has to be done again, said once."""
    dag.forced = forced()
    for line in dag.plan.lines():
        print(line, file=sys.stderr)
    return dag.plan


onstart:
    dag.lock = dag.begin()  # kept until this process ends
    slurm.keep_waiting()


onsuccess:
    dag.finish()
    print(outcome(dag), file=sys.stderr)
