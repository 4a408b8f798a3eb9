# Per subject.


rule anat:
    input:
        unpack(dag["anat"].inputs),
    output:
        manifest=dag["anat"].manifest,
    log:
        dag["anat"].log,
    container:
        dag.config.container
    threads: dag["anat"].threads
    resources:
        **dag["anat"].resources,
    params:
        cfg=dag["anat"].signature,
        repairs=dag["anat"].repairs,
    shell:
        dag.command("anat")


# Instead of anat, motion, coreg and sample where `preprocess.engine` is fmriprep.
rule fmriprep:
    input:
        unpack(dag["fmriprep"].inputs),
    output:
        manifest=dag["fmriprep"].manifest,
    log:
        dag["fmriprep"].log,
    container:
        lambda wildcards: None  # it starts a container itself, which cannot be done from inside another
    threads: dag["fmriprep"].threads
    resources:
        **dag["fmriprep"].resources,
    params:
        cfg=dag["fmriprep"].signature,
        repairs=dag["fmriprep"].repairs,
    shell:
        dag.command("fmriprep")
