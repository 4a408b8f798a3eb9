# One rule per stage, all of one form. A stage is a module of brainlm_data/stages or of brainlm_model, and its `STAGE`
# says all that is needed here: level, inputs, outputs. `snakemake --list` names them in the order of the pipeline.

CATEGORIES = {"qcgroup": "quality", "figures": "figures", "report": "report"}  # of `snakemake --report`; else paper


def declared(node):
    """A cohort's files by name; pages and drawn figures are part of `snakemake --report`."""
    files = node.declared
    category = CATEGORIES.get(node.stage.name, "paper")
    for name, path in files.items():
        if path.endswith((".html", ".svg")):
            caption = node.stage.name if path.endswith(".html") else "figure"
            files[name] = report(path, category=category, caption=f"../report/{caption}.rst")
    return files


# What is there is judged by `brainlm_data.graph.plan` alone, so times of change decide nothing: what a bundle that stands
# has read is ancient, and a bundle that has to be made again has one input that is newer than its manifest.
def upstream(node):
    def files(wildcards):
        stands = dag.planning and plan().stands(node.stage.name, node.bundle(wildcards))
        if dag.planning and not stands:
            look_ahead(node.stage.name)
        return ancient(node.upstream(wildcards)) if stands else node.upstream(wildcards)

    return files


def redone(node):
    return lambda wildcards: plan().marker(node.stage.name, node.bundle(wildcards)) if dag.planning else []


for stage in ALL_STAGES:

    rule:
        name:
            stage.name
        input:
            upstream=upstream(dag[stage.name]),
            redone=redone(dag[stage.name]),
        output:
            **declared(dag[stage.name]),
            manifest=dag[stage.name].manifest,
        log:
            dag[stage.name].log,
        container:
            # fMRIPrep starts a container itself, which cannot be done from inside another
            (lambda wildcards: None) if stage.name == "fmriprep" else dag.config.container
        threads: dag[stage.name].threads
        resources:
            **dag[stage.name].resources,
        params:
            program="brainlm-data" if stage in STAGES else "brainlm-model",
            stage=stage.name,
            bundle=dag[stage.name].bundle,
            threads=dag[stage.name].threads_of_unit,
            signature=dag[stage.name].requested,
        shell:
            # a shell line is read when the job runs, after the loop: what differs between stages comes from params
            dag.command
