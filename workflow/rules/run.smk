# One run at a time in an outdir; at the end, what became of the recordings.


onstart:
    dag.lock = dag.begin()  # kept until this process ends


onsuccess:
    print(dag.outcome(), file=sys.stderr)
