# What can be asked for by name: preprocess and dataset here; train, evaluate, figures and report are rules themselves.


rule preprocess:
    input:
        dag.manifests([*dag.image_stages(), "qcgroup"]),
    localrule: True


rule dataset:
    input:
        dag["collate"].manifests,
    localrule: True
