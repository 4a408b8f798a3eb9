# The space that everything is normalized to, and the parcellation in it.


rule template:
    input:
        unpack(dag["template"].inputs),
    output:
        manifest=dag["template"].manifest,
    log:
        dag["template"].log,
    container:
        dag.config.container
    threads: dag["template"].threads
    resources:
        **dag["template"].resources,
    params:
        cfg=dag["template"].signature,
        repairs=dag["template"].repairs,
    shell:
        dag.command("template")


rule atlas:
    input:
        unpack(dag["atlas"].inputs),
    output:
        manifest=dag["atlas"].manifest,
    log:
        dag["atlas"].log,
    container:
        dag.config.container
    threads: dag["atlas"].threads
    resources:
        **dag["atlas"].resources,
    params:
        cfg=dag["atlas"].signature,
        repairs=dag["atlas"].repairs,
    shell:
        dag.command("atlas")
