# Targets by name: preprocess, recordings and dataset here; a stage of the cohort is a rule itself, and of a stage of
# subjects or recordings `all_<stage>` makes everybody's (`brainlm --target <stage>` is the same).


rule preprocess:
    input:
        lambda _: dag.manifests(dag.preprocessing()),
    localrule: True


# Without the quality page of all: of a few subjects it would take the place of everybody's.
rule recordings:
    input:
        lambda _: dag.manifests([name for name in dag.preprocessing() if name != "qcgroup"]),
    localrule: True


rule dataset:
    input:
        lambda _: dag.manifests(["collate", *dag.extras()]),
    localrule: True


for stage in ALL_STAGES:
    if stage.level != "cohort":

        rule:
            name:
                f"all_{stage.name}"
            input:
                lambda _, name=stage.name: dag.manifests([name]),
            localrule: True
