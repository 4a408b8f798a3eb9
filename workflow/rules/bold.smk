# Per recording, on images: the raw run is read twice and interpolated once.


rule motion:
    input:
        unpack(dag["motion"].inputs),
    output:
        manifest=dag["motion"].manifest,
    log:
        dag["motion"].log,
    container:
        dag.config.container
    threads: dag["motion"].threads
    resources:
        **dag["motion"].resources,
    params:
        cfg=dag["motion"].signature,
        repairs=dag["motion"].repairs,
    shell:
        dag.command("motion")


rule slicetiming:
    input:
        unpack(dag["slicetiming"].inputs),
    output:
        manifest=dag["slicetiming"].manifest,
    log:
        dag["slicetiming"].log,
    container:
        dag.config.container
    threads: dag["slicetiming"].threads
    resources:
        **dag["slicetiming"].resources,
    params:
        cfg=dag["slicetiming"].signature,
        repairs=dag["slicetiming"].repairs,
    shell:
        dag.command("slicetiming")


rule coreg:
    input:
        unpack(dag["coreg"].inputs),
    output:
        manifest=dag["coreg"].manifest,
    log:
        dag["coreg"].log,
    container:
        dag.config.container
    threads: dag["coreg"].threads
    resources:
        **dag["coreg"].resources,
    params:
        cfg=dag["coreg"].signature,
        repairs=dag["coreg"].repairs,
    shell:
        dag.command("coreg")


rule sample:
    input:
        unpack(dag["sample"].inputs),
    output:
        manifest=dag["sample"].manifest,
    log:
        dag["sample"].log,
    container:
        dag.config.container
    threads: dag["sample"].threads
    resources:
        **dag["sample"].resources,
    params:
        cfg=dag["sample"].signature,
        repairs=dag["sample"].repairs,
    shell:
        dag.command("sample")


# fMRIPrep's derivatives instead of motion, coreg and sample.
rule ingest:
    input:
        unpack(dag["ingest"].inputs),
    output:
        manifest=dag["ingest"].manifest,
    log:
        dag["ingest"].log,
    container:
        dag.config.container
    threads: dag["ingest"].threads
    resources:
        **dag["ingest"].resources,
    params:
        cfg=dag["ingest"].signature,
        repairs=dag["ingest"].repairs,
    shell:
        dag.command("ingest")


# 4-D images, only where `keep` asks for them.
rule keep:
    input:
        unpack(dag["keep"].inputs),
    output:
        manifest=dag["keep"].manifest,
    log:
        dag["keep"].log,
    container:
        dag.config.container
    threads: dag["keep"].threads
    resources:
        **dag["keep"].resources,
    params:
        cfg=dag["keep"].signature,
        repairs=dag["keep"].repairs,
    shell:
        dag.command("keep")
