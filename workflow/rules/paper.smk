# The paper's tasks: none is part of the default target; `snakemake paper` makes all.


rule paper:
    input:
        dag.manifests(list(PAPER_TASKS)),
    localrule: True


rule attention:
    input:
        unpack(dag["attention"].inputs),
    output:
        manifest=dag["attention"].manifest,
        table=dag["attention"].file("attention_json"),
        csv=dag["attention"].file("attention_csv"),
        arrays=dag["attention"].file("attention_arrays"),
        svg=report(
            dag["attention"].file("attention_svg"),
            category="paper",
            caption="../report/figure.rst",
        ),
        png=dag["attention"].file("attention_png"),
    log:
        dag["attention"].log,
    container:
        dag.config.container
    threads: dag["attention"].threads
    resources:
        mem_mb=8000,
    params:
        cfg=dag["attention"].signature,
        repairs=dag["attention"].repairs,
    shell:
        dag.command("attention", "brainlm-model")


rule networks:
    input:
        unpack(dag["networks"].inputs),
    output:
        manifest=dag["networks"].manifest,
        table=dag["networks"].file("networks_json"),
        csv=dag["networks"].file("networks_csv"),
        arrays=dag["networks"].file("networks_arrays"),
        svg=report(
            dag["networks"].file("networks_svg"),
            category="paper",
            caption="../report/figure.rst",
        ),
        png=dag["networks"].file("networks_png"),
    log:
        dag["networks"].log,
    container:
        dag.config.container
    threads: dag["networks"].threads
    resources:
        mem_mb=8000,
    params:
        cfg=dag["networks"].signature,
        repairs=dag["networks"].repairs,
    shell:
        dag.command("networks", "brainlm-model")
