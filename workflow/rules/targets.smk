# What can be asked for by name: preprocess and dataset here; every other name is a rule itself.


rule preprocess:
    input:
        dag.manifests([*dag.image_stages(), "qcgroup"]),
    localrule: True


rule dataset:
    input:
        dag["collate"].manifests,
    localrule: True
