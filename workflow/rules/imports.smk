# Instead of all stages from template to qcgroup where `input.kind` is not bids: what exists already.


rule input:
    input:
        unpack(dag["input"].inputs),
    output:
        manifest=dag["input"].manifest,
    log:
        dag["input"].log,
    container:
        dag.config.container
    threads: dag["input"].threads
    resources:
        **dag["input"].resources,
    params:
        cfg=dag["input"].signature,
        repairs=dag["input"].repairs,
    shell:
        dag.command("input")


rule imported:
    input:
        unpack(dag["imported"].inputs),
    output:
        manifest=dag["imported"].manifest,
    log:
        dag["imported"].log,
    container:
        dag.config.container
    threads: dag["imported"].threads
    resources:
        **dag["imported"].resources,
    params:
        cfg=dag["imported"].signature,
        repairs=dag["imported"].repairs,
    shell:
        dag.command("imported")
