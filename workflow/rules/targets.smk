# What can be asked for by name: snakemake --cores 8 preprocess | dataset | train | evaluate | figures | report
# (the last four are the rules themselves).


rule all:
    default_target: True
    localrule: True
    input:
        dag["report"].manifests,
        dag.manifests(dag.image_stages()),


rule preprocess:
    localrule: True
    input:
        dag.manifests(dag.image_stages()),


rule dataset:
    localrule: True
    input:
        dag["collate"].manifests,
