# What can be asked for by name: snakemake --cores 8 preprocess | dataset | train | evaluate | figures | report
# (the last four are the rules themselves).


rule all:
    default_target: True
    input:
        dag["report"].manifests,
        dag.manifests(dag.image_stages()),
    localrule: True


rule preprocess:
    input:
        dag.manifests(dag.image_stages()),
    localrule: True


rule dataset:
    input:
        dag["collate"].manifests,
    localrule: True
