# One run at a time in an outdir; a SLURM that does not answer is waited for; at the end, what became of the recordings.
from brainlm_data.graph import slurm
from brainlm_data.graph.outcome import outcome


onstart:
    dag.lock = dag.begin()  # kept until this process ends
    slurm.keep_waiting()


onsuccess:
    print(outcome(dag), file=sys.stderr)
