# The space that everything is normalized to, and the parcellation in it.


rule template:
    input:
        unpack(dag["template"].inputs),
    output:
        manifest=dag["template"].manifest,
    params:
        cfg=dag["template"].signature,
        repairs=dag["template"].repairs,
    log:
        dag["template"].log,
    threads: dag["template"].threads
    resources:
        mem_mb=1000,
    container:
        dag.config.container
    shell:
        dag.command("template")


rule atlas:
    input:
        unpack(dag["atlas"].inputs),
    output:
        manifest=dag["atlas"].manifest,
    params:
        cfg=dag["atlas"].signature,
        repairs=dag["atlas"].repairs,
    log:
        dag["atlas"].log,
    threads: dag["atlas"].threads
    resources:
        mem_mb=1000,
    container:
        dag.config.container
    shell:
        dag.command("atlas")
