# One run at a time in an outdir; a SLURM that does not answer is waited for; at the end, what became of the recordings.
from brainlm_data import slurm


onstart:
    dag.lock = dag.begin()  # kept until this process ends
    slurm.keep_waiting()


onsuccess:
    print(dag.outcome(), file=sys.stderr)
