# Targets by name: preprocess and dataset here; every other target is a rule itself.


rule preprocess:
    input:
        dag.manifests(dag.preprocessing()),
    localrule: True


rule dataset:
    input:
        dag["collate"].manifests,
        dag.manifests(dag.extras()),
    localrule: True
