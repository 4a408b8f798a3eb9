# Per recording, on the voxel sample and the parcel series: seconds each.


rule confounds:
    input:
        unpack(dag["confounds"].inputs),
    output:
        manifest=dag["confounds"].manifest,
    log:
        dag["confounds"].log,
    container:
        dag.config.container
    threads: dag["confounds"].threads
    resources:
        **dag["confounds"].resources,
    params:
        cfg=dag["confounds"].signature,
        repairs=dag["confounds"].repairs,
    shell:
        dag.command("confounds")


rule filter:
    input:
        unpack(dag["filter"].inputs),
    output:
        manifest=dag["filter"].manifest,
    log:
        dag["filter"].log,
    container:
        dag.config.container
    threads: dag["filter"].threads
    resources:
        **dag["filter"].resources,
    params:
        cfg=dag["filter"].signature,
        repairs=dag["filter"].repairs,
    shell:
        dag.command("filter")


rule denoise:
    input:
        unpack(dag["denoise"].inputs),
    output:
        manifest=dag["denoise"].manifest,
    log:
        dag["denoise"].log,
    container:
        dag.config.container
    threads: dag["denoise"].threads
    resources:
        **dag["denoise"].resources,
    params:
        cfg=dag["denoise"].signature,
        repairs=dag["denoise"].repairs,
    shell:
        dag.command("denoise")


rule parcellate:
    input:
        unpack(dag["parcellate"].inputs),
    output:
        manifest=dag["parcellate"].manifest,
    log:
        dag["parcellate"].log,
    container:
        dag.config.container
    threads: dag["parcellate"].threads
    resources:
        **dag["parcellate"].resources,
    params:
        cfg=dag["parcellate"].signature,
        repairs=dag["parcellate"].repairs,
    shell:
        dag.command("parcellate")


rule resample:
    input:
        unpack(dag["resample"].inputs),
    output:
        manifest=dag["resample"].manifest,
    log:
        dag["resample"].log,
    container:
        dag.config.container
    threads: dag["resample"].threads
    resources:
        **dag["resample"].resources,
    params:
        cfg=dag["resample"].signature,
        repairs=dag["resample"].repairs,
    shell:
        dag.command("resample")


rule qc:
    input:
        unpack(dag["qc"].inputs),
    output:
        manifest=dag["qc"].manifest,
    log:
        dag["qc"].log,
    container:
        dag.config.container
    threads: dag["qc"].threads
    resources:
        **dag["qc"].resources,
    params:
        cfg=dag["qc"].signature,
        repairs=dag["qc"].repairs,
    shell:
        dag.command("qc")
