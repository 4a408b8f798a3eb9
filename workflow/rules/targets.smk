# What can be asked for by name: preprocess and dataset here; every other name is a rule itself.


rule preprocess:
    input:
        dag.manifests(dag.preprocessing()),
    localrule: True


rule dataset:
    input:
        dag["collate"].manifests,
        dag.manifests(dag.extras()),
    localrule: True
