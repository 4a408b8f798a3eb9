# The whole cohort: quality, store, model, tables, figures, report.


rule qcgroup:
    input:
        unpack(dag["qcgroup"].inputs),
    output:
        manifest=dag["qcgroup"].manifest,
        page=report(
            dag["qcgroup"].file("qc_group_page"),
            category="quality",
            caption="../report/qcgroup.rst",
        ),
        table=dag["qcgroup"].file("qc_group_table"),
        columns=dag["qcgroup"].file("qc_group_columns"),
    log:
        dag["qcgroup"].log,
    container:
        dag.config.container
    threads: dag["qcgroup"].threads
    resources:
        **dag["qcgroup"].resources,
    params:
        cfg=dag["qcgroup"].signature,
        repairs=dag["qcgroup"].repairs,
    shell:
        dag.command("qcgroup")


rule collate:
    input:
        unpack(dag["collate"].inputs),
    output:
        manifest=dag["collate"].manifest,
        recordings=dag["collate"].file("recordings"),
        scaler=dag["collate"].file("scaler"),
        card=dag["collate"].file("card"),
    log:
        dag["collate"].log,
    container:
        dag.config.container
    threads: dag["collate"].threads
    resources:
        **dag["collate"].resources,
    params:
        cfg=dag["collate"].signature,
        repairs=dag["collate"].repairs,
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
    log:
        dag["train"].log,
    container:
        dag.config.container
    threads: dag["train"].threads
    resources:
        **dag["train"].resources,
    params:
        cfg=dag["train"].signature,
        repairs=dag["train"].repairs,
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
    log:
        dag["evaluate"].log,
    container:
        dag.config.container
    threads: dag["evaluate"].threads
    resources:
        **dag["evaluate"].resources,
    params:
        cfg=dag["evaluate"].signature,
        repairs=dag["evaluate"].repairs,
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
    log:
        dag["figures"].log,
    container:
        dag.config.container
    threads: dag["figures"].threads
    resources:
        **dag["figures"].resources,
    params:
        cfg=dag["figures"].signature,
        repairs=dag["figures"].repairs,
    shell:
        dag.command("figures", "brainlm-model")


rule report:
    input:
        unpack(dag["report"].inputs),
    output:
        manifest=dag["report"].manifest,
        page=report(dag["report"].file("report"), category="report", caption="../report/report.rst"),
    log:
        dag["report"].log,
    container:
        dag.config.container
    threads: dag["report"].threads
    resources:
        **dag["report"].resources,
    params:
        cfg=dag["report"].signature,
        repairs=dag["report"].repairs,
    shell:
        dag.command("report", "brainlm-model")
