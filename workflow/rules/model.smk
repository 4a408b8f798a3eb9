# The whole cohort: store, model, tables, figures, report.


rule collate:
    input:
        unpack(dag["collate"].inputs),
    output:
        manifest=dag["collate"].manifest,
        recordings=dag["collate"].file("recordings"),
        scaler=dag["collate"].file("scaler"),
        card=dag["collate"].file("card"),
    params:
        cfg=dag["collate"].signature,
        repairs=dag["collate"].repairs,
    log:
        dag["collate"].log,
    threads: dag["collate"].threads
    resources:
        mem_mb=4000,
    container:
        dag.config.container
    shell:
        dag.command("collate")


rule train:
    input:
        unpack(dag["train"].inputs),
    output:
        manifest=dag["train"].manifest,
        model=dag["train"].file("model"),
        model_config=dag["train"].file("model_config"),
        model_scaler=dag["train"].file("model_scaler"),
        model_card=dag["train"].file("model_card"),
        train_log=dag["train"].file("train_log"),
    params:
        cfg=dag["train"].signature,
        repairs=dag["train"].repairs,
    log:
        dag["train"].log,
    threads: dag["train"].threads
    resources:
        mem_mb=8000,
    container:
        dag.config.container
    shell:
        dag.command("train", "brainlm-model")


rule evaluate:
    input:
        unpack(dag["evaluate"].inputs),
    output:
        manifest=dag["evaluate"].manifest,
        masked_json=dag["evaluate"].file("masked_json"),
        masked_csv=dag["evaluate"].file("masked_csv"),
        masked_example=dag["evaluate"].file("masked_example"),
    params:
        cfg=dag["evaluate"].signature,
        repairs=dag["evaluate"].repairs,
    log:
        dag["evaluate"].log,
    threads: dag["evaluate"].threads
    resources:
        mem_mb=8000,
    container:
        dag.config.container
    shell:
        dag.command("evaluate", "brainlm-model")


rule figures:
    input:
        unpack(dag["figures"].inputs),
    output:
        manifest=dag["figures"].manifest,
        svg=report(
            dag["figures"].files(".svg"),
            category="figures",
            caption="../report/figure.rst",
        ),
        png=dag["figures"].files(".png"),
    params:
        cfg=dag["figures"].signature,
        repairs=dag["figures"].repairs,
    log:
        dag["figures"].log,
    threads: dag["figures"].threads
    resources:
        mem_mb=4000,
    container:
        dag.config.container
    shell:
        dag.command("figures", "brainlm-model")


rule report:
    input:
        unpack(dag["report"].inputs),
    output:
        manifest=dag["report"].manifest,
        page=report(dag["report"].file("report"), category="report", caption="../report/report.rst"),
    params:
        cfg=dag["report"].signature,
        repairs=dag["report"].repairs,
    log:
        dag["report"].log,
    threads: dag["report"].threads
    resources:
        mem_mb=2000,
    container:
        dag.config.container
    shell:
        dag.command("report", "brainlm-model")
