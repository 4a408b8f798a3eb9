# Per recording, on the voxel sample and the parcel series: seconds each.


rule confounds:
    input:
        unpack(dag["confounds"].inputs),
    output:
        manifest=dag["confounds"].manifest,
    params:
        cfg=dag["confounds"].signature,
        repairs=dag["confounds"].repairs,
    log:
        dag["confounds"].log,
    threads: dag["confounds"].threads
    resources:
        mem_mb=2000,
    container:
        dag.config.container
    shell:
        dag.command("confounds")


rule filter:
    input:
        unpack(dag["filter"].inputs),
    output:
        manifest=dag["filter"].manifest,
    params:
        cfg=dag["filter"].signature,
        repairs=dag["filter"].repairs,
    log:
        dag["filter"].log,
    threads: dag["filter"].threads
    resources:
        mem_mb=2000,
    container:
        dag.config.container
    shell:
        dag.command("filter")


rule denoise:
    input:
        unpack(dag["denoise"].inputs),
    output:
        manifest=dag["denoise"].manifest,
    params:
        cfg=dag["denoise"].signature,
        repairs=dag["denoise"].repairs,
    log:
        dag["denoise"].log,
    threads: dag["denoise"].threads
    resources:
        mem_mb=2000,
    container:
        dag.config.container
    shell:
        dag.command("denoise")


rule parcellate:
    input:
        unpack(dag["parcellate"].inputs),
    output:
        manifest=dag["parcellate"].manifest,
    params:
        cfg=dag["parcellate"].signature,
        repairs=dag["parcellate"].repairs,
    log:
        dag["parcellate"].log,
    threads: dag["parcellate"].threads
    resources:
        mem_mb=2000,
    container:
        dag.config.container
    shell:
        dag.command("parcellate")


rule resample:
    input:
        unpack(dag["resample"].inputs),
    output:
        manifest=dag["resample"].manifest,
    params:
        cfg=dag["resample"].signature,
        repairs=dag["resample"].repairs,
    log:
        dag["resample"].log,
    threads: dag["resample"].threads
    resources:
        mem_mb=2000,
    container:
        dag.config.container
    shell:
        dag.command("resample")


rule qc:
    input:
        unpack(dag["qc"].inputs),
    output:
        manifest=dag["qc"].manifest,
    params:
        cfg=dag["qc"].signature,
        repairs=dag["qc"].repairs,
    log:
        dag["qc"].log,
    threads: dag["qc"].threads
    resources:
        mem_mb=2000,
    container:
        dag.config.container
    shell:
        dag.command("qc")
