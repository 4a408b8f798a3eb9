# Per subject.


rule anat:
    input:
        unpack(dag["anat"].inputs),
    output:
        manifest=dag["anat"].manifest,
    params:
        cfg=dag["anat"].signature,
        repairs=dag["anat"].repairs,
    log:
        dag["anat"].log,
    threads: dag["anat"].threads
    resources:
        mem_mb=3000,
    container:
        dag.config.container
    shell:
        dag.command("anat")


# Instead of anat, motion, coreg and sample where `preprocess.engine` is fmriprep.
rule fmriprep:
    input:
        unpack(dag["fmriprep"].inputs),
    output:
        manifest=dag["fmriprep"].manifest,
    params:
        cfg=dag["fmriprep"].signature,
        repairs=dag["fmriprep"].repairs,
    log:
        dag["fmriprep"].log,
    threads: dag["fmriprep"].threads
    resources:
        mem_mb=16000,
    container:
        dag.config.container
    shell:
        dag.command("fmriprep")
