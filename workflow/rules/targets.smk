# Targets by name: preprocess, recordings and dataset here; every other target is a rule itself.


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
