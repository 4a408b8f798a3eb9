# Per recording, on images: the raw run is read twice and interpolated once.


rule motion:
    input:
        unpack(dag["motion"].inputs),
    output:
        manifest=dag["motion"].manifest,
    params:
        cfg=dag["motion"].signature,
        repairs=dag["motion"].repairs,
    log:
        dag["motion"].log,
    threads: dag["motion"].threads
    resources:
        mem_mb=2000,
    container:
        dag.config.container
    shell:
        dag.command("motion")


rule coreg:
    input:
        unpack(dag["coreg"].inputs),
    output:
        manifest=dag["coreg"].manifest,
    params:
        cfg=dag["coreg"].signature,
        repairs=dag["coreg"].repairs,
    log:
        dag["coreg"].log,
    threads: dag["coreg"].threads
    resources:
        mem_mb=2000,
    container:
        dag.config.container
    shell:
        dag.command("coreg")


rule sample:
    input:
        unpack(dag["sample"].inputs),
    output:
        manifest=dag["sample"].manifest,
    params:
        cfg=dag["sample"].signature,
        repairs=dag["sample"].repairs,
    log:
        dag["sample"].log,
    threads: dag["sample"].threads
    resources:
        mem_mb=2000,
    container:
        dag.config.container
    shell:
        dag.command("sample")


# fMRIPrep's derivatives instead of motion, coreg and sample.
rule ingest:
    input:
        unpack(dag["ingest"].inputs),
    output:
        manifest=dag["ingest"].manifest,
    params:
        cfg=dag["ingest"].signature,
        repairs=dag["ingest"].repairs,
    log:
        dag["ingest"].log,
    threads: dag["ingest"].threads
    resources:
        mem_mb=3000,
    container:
        dag.config.container
    shell:
        dag.command("ingest")


# 4-D images, only where `keep` asks for them.
rule keep:
    input:
        unpack(dag["keep"].inputs),
    output:
        manifest=dag["keep"].manifest,
    params:
        cfg=dag["keep"].signature,
        repairs=dag["keep"].repairs,
    log:
        dag["keep"].log,
    threads: dag["keep"].threads
    resources:
        mem_mb=4000,
    container:
        dag.config.container
    shell:
        dag.command("keep")
