# The paper's tasks, one rule each, all of one form, and the page of all. None is part of the default target.


rule paper:
    input:
        unpack(dag["paper"].inputs),
    output:
        manifest=dag["paper"].manifest,
        page=report(
            dag["paper"].file("paper_page"),
            category="paper",
            caption="../report/paper.rst",
        ),
        card=dag["paper"].file("paper_card"),
    log:
        dag["paper"].log,
    container:
        dag.config.container
    threads: dag["paper"].threads
    resources:
        **dag["paper"].resources,
    params:
        cfg=dag["paper"].signature,
        repairs=dag["paper"].repairs,
    shell:
        dag.command("paper", "brainlm-model")


for task in PAPER_TASKS:

    rule:
        name:
            task
        input:
            unpack(dag[task].inputs),
        output:
            manifest=dag[task].manifest,
            table=dag[task].file(f"{task}_json"),
            csv=dag[task].file(f"{task}_csv"),
            arrays=dag[task].file(f"{task}_arrays"),
            svg=report(
                dag[task].file(f"{task}_svg"),
                category="paper",
                caption="../report/figure.rst",
            ),
            png=dag[task].file(f"{task}_png"),
        log:
            dag[task].log,
        container:
            dag.config.container
        threads: dag[task].threads
        resources:
            **dag[task].resources,
        params:
            task=task,
            cfg=dag[task].signature,
            repairs=dag[task].repairs,
        shell:
            # not dag.command(task): a shell line is read when the job runs, after the loop
            dag.command("{params.task}", "brainlm-model", "cohort")
