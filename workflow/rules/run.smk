# One run at a time in an outdir; a SLURM that does not answer is waited for; at the end, what became of the recordings.
from functools import cache

from brainlm_data.graph import slurm
from brainlm_data.graph.index_page import RESULTS, files, write_index
from brainlm_data.graph.needs import estimate, expected, gpus, requests
from brainlm_data.graph.outcome import outcome, taken
from brainlm_data.graph.remembered import remember, settled
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
        default = set(workflow.dag_settings.targets) <= {"all"}
        notes = [dag.said_of_model()] if default and dag.said_of_model() else []
        estimated = [] if events.is_told else dag.estimated()
        say("plan", [*taken(dag), *notes, *dag.plan.lines(), *estimated])
        return dag.plan
    except Exception as error:
        stop(error)


@cache
def look_ahead(stage):
    """What can be known of a stage that is going to run; GPUs are looked for where its job will run on this machine."""
    try:
        dag.look_ahead(stage)
        section = dag.section(dag.stages[stage])
        count = gpus(section, dag.config.jobs.gpu_partition).get("gpu", 0)
        if count and workflow.is_main_process and workflow.resource_settings.nodes is None:  # no cluster's `jobs`
            from brainlm_model.training.world import check_gpus  # torch, which takes seconds

            check_gpus(section.device, count, stage)
    except Exception as error:
        stop(error)


def say(kind, lines, **more):
    """Lines for who looks on: `brainlm` shows them, else they are printed."""
    events.tell(kind, lines=lines, **more)
    print(*lines, sep="\n", file=sys.stderr)


def scheduled():
    """(stage, bundle) of every job that is going to run."""
    return [(job.rule.name, job.wildcards_dict.get("bundle", COHORT)) for job in workflow.dag.needrun_jobs()]


def takes():
    """What all jobs take together, whether that fits on the disk, and what each requests."""
    together = estimate(dag, scheduled(), dag.plan.redone)
    words, warning = together.words(dag), together.warning(dag)
    return {"takes": words, "warning": warning, "requests": requests(dag, scheduled())}


def index():
    """The page that links all others; where it cannot be written, that is said, and what became of the run stays."""
    try:
        write_index(dag)
    except Exception as error:
        print(f"index.html was not written: {in_words(error, config.get('outdir'))}", file=sys.stderr)


def end(first=()):
    """The page of all pages, and the summary, whatever came of the run; `first`: lines before it."""
    if not workflow.dryrun:
        index()
    result = outcome(dag, events.failed)
    counts = {"through": result.through, "refused": len(result.refused), "failed": result.n_failed}
    say("end", [*first, *result.lines()], if_interrupted=[*first, *result.lines(failed=False)], **counts)


def nothing_to_do():
    """What is there already."""
    results = ", ".join(row["name"] for row in files(dag).get(RESULTS, []))
    end([f"nothing to do: what was asked for is there, as this configuration makes it ({results or 'no results yet'})"])


onstart:
    try:
        dag.lock = dag.begin(scheduled())  # kept until this process ends
    except Exception as error:
        raise in_one_line(error) from None
    if not events.is_told:  # `brainlm` does it, without the selection of a single run
        remember(settled(config, ALL_STAGES))
    events.tell("jobs", jobs=[expected(dag, stage, bundle) for stage, bundle in scheduled() if stage in dag.stages])
    slurm.keep_waiting()


onsuccess:
    dag.finish()
    end()


onerror:
    end()


events.nothing_to_do = nothing_to_do
events.takes = takes
