# Targets by name: preprocess and dataset here; every other target is a rule itself.


rule preprocess:
    input:
        lambda _: dag.manifests(dag.preprocessing()),
    localrule: True


rule dataset:
    input:
        lambda _: dag.manifests(["collate", *dag.extras()]),
    localrule: True
