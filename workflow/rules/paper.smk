# Evaluations that the paper has: each is asked for by its name, `snakemake paper` asks for all.


rule paper:
    input:
        dag.manifests(list(PAPER_TASKS)),
    localrule: True


rule phenotype:
    input:
        unpack(dag["phenotype"].inputs),
    output:
        manifest=dag["phenotype"].manifest,
        json=dag["phenotype"].file("phenotype_json"),
        csv=dag["phenotype"].file("phenotype_csv"),
        svg=report(
            dag["phenotype"].file("phenotype_svg"),
            category="paper",
            caption="../report/figure.rst",
        ),
        png=dag["phenotype"].file("phenotype_png"),
    log:
        dag["phenotype"].log,
    container:
        dag.config.container
    threads: dag["phenotype"].threads
    resources:
        mem_mb=8000,
    params:
        cfg=dag["phenotype"].signature,
        repairs=dag["phenotype"].repairs,
    shell:
        dag.command("phenotype", "brainlm-model")
