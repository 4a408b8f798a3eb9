"""What planning a cohort costs: `snakemake -n` of the product's Snakefile over a simulated BIDS tree.

    python -m benchmarks.planning --json [--recordings 76000] [--bundle 100] [--todo-only] [--fieldmaps]

A tree of empty images (two runs and one T1w per person, sidecars at the root, participants.tsv with three columns; with
`--fieldmaps` two opposed images per person), planned to the report with the default configuration: first with
everything to do, then with nothing. For the second, every stage's manifests are written with the entries that the
runner writes, beside empty output files in their real places. Building all that is not counted. The first plan also
reads the dataset (`index_s`: CPU of that alone, in a process of its own); later ones find the index cached.

Keys: `todo`, `todo_again` (index and listings are there) and `done`, each as `_s` (wall), `_cpu_s`, `_mb` (peak of the
process; a dry run starts no other) and `_jobs`; `peak_mb` of all, `n_recordings`, `n_outputs`, `bundle_size`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.tools import apart, one_thread, parser, show, snakemake_call

one_thread()

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # sha256 of no bytes
SENTENCE = 250  # characters of a stage's methods sentence, about


def plant(bids: Path, recordings: int, fieldmaps: bool = False) -> None:
    """A BIDS tree of empty images: people of two runs each (the last may have one), with a T1w.

    `fieldmaps`: each with two opposed echo planar images for both runs, which are not empty.
    """
    bids.mkdir()
    (bids / "dataset_description.json").write_text('{"Name": "simulated", "BIDSVersion": "1.9.0"}')
    slices = [round(0.735 * (k % 8) / 8, 4) for k in range(64)]
    facts = {"RepetitionTime": 0.735, "TaskName": "rest", "SliceTiming": slices, "EchoTime": 0.039,
             "PhaseEncodingDirection": "j", "TotalReadoutTime": 0.05}  # fmt: skip
    (bids / "task-rest_bold.json").write_text(json.dumps(facts))
    rows = ["participant_id\tage\tsex\tsite"]
    for number in range((recordings + 1) // 2):
        name = f"sub-{number + 1:06d}"
        rows.append(f"{name}\t{45 + number % 35}\t{'FM'[number % 2]}\tsite{number % 4}")
        for kind in ("anat", "func"):
            os.makedirs(bids / name / kind)
        files = [f"anat/{name}_T1w.nii.gz"]
        files += [f"func/{name}_task-rest_run-{run}_bold.nii.gz" for run in (1, 2)[: recordings - 2 * number]]
        for file in files:
            _touch(f"{bids}/{name}/{file}")
        if fieldmaps:
            _opposed(bids, name, [file for file in files if file.startswith("func/")])
    (bids / "participants.tsv").write_text("\n".join(rows) + "\n")


def _opposed(bids: Path, name: str, runs: list[str]) -> None:
    """Two images with opposed phase encoding that are meant for these runs."""
    os.makedirs(bids / name / "fmap")
    for label, direction in (("AP", "j-"), ("PA", "j")):
        stem = f"{bids}/{name}/fmap/{name}_dir-{label}_epi"
        Path(f"{stem}.nii.gz").write_bytes(bytes(2000))
        facts = {"PhaseEncodingDirection": direction, "TotalReadoutTime": 0.05, "IntendedFor": runs}
        Path(f"{stem}.json").write_text(json.dumps(facts))


def _touch(path: str) -> int:
    """Make an empty file; its mtime in ns."""
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    mtime = os.fstat(handle).st_mtime_ns
    os.close(handle)
    return mtime


def finish(config: dict[str, Any], on_demand: bool = False) -> int:
    """Manifests of every stage as after a whole run, and the files that they name; the number of these.

    `on_demand`: also of the stages that are made where something asks for them.
    """
    from brainlm_data import paths
    from brainlm_data.files import sidecar
    from brainlm_data.graph.dag import Dag
    from brainlm_data.runner.manifest import combined, content_of
    from brainlm_model.stages import ALL_STAGES

    dag = Dag(config, ALL_STAGES)
    dag.prepare()
    made = 0
    contents: dict[str, dict[str, str]] = {}
    wanted = set(dag.preprocessing()) | {stage.name for stage in dag.stages.values() if stage.on_demand and on_demand}
    for stage in dag.stages.values():
        if stage.level != "cohort" and stage.name not in wanted:
            continue
        if any(upstream.name not in contents for upstream in dag.upstream_of(stage)):
            continue  # it reads what is made on demand
        names = dag.names_of(stage)
        contents[stage.name] = {}
        for bundle in dag.bundles.by_level[stage.level]:
            entries: dict[str, Any] = {}
            for unit in sidecar.read_record(paths.listing_path(dag.outdir, stage.level, bundle))["units"]:
                outputs: dict[str, Any] = {}
                for output in stage.outputs:
                    target = dag.artifacts[output].path(dag.outdir, unit["prefix"], names)
                    beside = sidecar.sidecar_path(target)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    pair = {output: target}
                    if dag.artifacts[output].has_sidecar and beside != target:
                        pair[f"{output}.json"] = beside
                    for name, file in pair.items():
                        outputs[name] = {"path": str(file.relative_to(dag.outdir)), "size": 0,
                                         "mtime_ns": _touch(str(file)), "sha256": EMPTY}  # fmt: skip
                made += len(outputs)
                methods = {stage.name: "x" * SENTENCE}
                entries[unit["id"]] = {"status": "done", "reason": "", "outputs": outputs, "methods": methods}
            upstream = {
                name: combined((b, contents[name][b]) for b in bundles)
                for name, bundles in dag.upstream_bundles(stage, bundle).items()
            }
            contents[stage.name][bundle] = content = content_of(entries)
            manifest = {"stage": stage.name, "bundle": bundle, "signature": dag[stage.name].signature,
                        "listing": dag.listed(stage, bundle), "upstream": upstream, "content": content,
                        "units": entries}  # fmt: skip
            sidecar.write_json(paths.manifest_path(dag.outdir, stage.name, bundle), manifest, indent=None)
    return made


def index_cost(bids: str) -> float:
    """CPU seconds of reading the dataset without a cache."""
    from brainlm_data.bids.index import Select, read_index

    begin = time.process_time()
    read_index(Path(bids), Select())
    return time.process_time() - begin


def snakemake(folder: Path, *arguments: str) -> dict[str, Any]:
    """Wall and CPU seconds, peak MB and the number of jobs of one call."""
    call = [*snakemake_call(folder, 1, folder / "config.json"), *arguments]
    begin = time.monotonic()
    with (folder / "snakemake.log").open("w+") as log:
        process = subprocess.Popen(call, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        output = log.read()
    if process.returncode:
        raise SystemExit(output[-4000:])
    total = re.search(r"^total\s+(\d+)$", output, flags=re.MULTILINE)
    return {"s": time.monotonic() - begin, "cpu_s": usage.ru_utime + usage.ru_stime, "mb": usage.ru_maxrss / 1024,
            "jobs": int(total.group(1)) if total else 0}  # fmt: skip


def measure(folder: Path, recordings: int, bundle: int, todo_only: bool, fieldmaps: bool = False) -> dict[str, Any]:
    """Everything, below `folder`."""
    config = {"bids_dir": str(folder / "bids"), "outdir": str(folder / "out"), "bundle_size": bundle}
    config["atlas"] = {"name": "demo424"}  # needs no download
    (folder / "config.json").write_text(json.dumps(config))
    apart(plant, folder / "bids", recordings, fieldmaps)
    found: dict[str, Any] = {"n_recordings": recordings, "bundle_size": bundle}
    found["index_s"] = apart(index_cost, config["bids_dir"])
    runs = {"todo": snakemake(folder, "-n"), "todo_again": snakemake(folder, "-n")}
    if not todo_only:
        found["n_outputs"] = apart(finish, config)
        runs["done"] = snakemake(folder, "-n")
    for name, run in runs.items():
        found |= {f"{name}_{key}": value for key, value in run.items()}
    found["peak_mb"] = max(run["mb"] for run in runs.values())
    return found


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--recordings", type=int, default=76000)
    arguments.add_argument("--bundle", type=int, default=100)
    arguments.add_argument("--todo-only", action="store_true", help="leave out `done`, whose files take long to make")
    arguments.add_argument("--folder", type=Path, help="where to build it, and to leave it (default: temporary)")
    arguments.add_argument("--fieldmaps", action="store_true", help="two images per person")
    given = arguments.parse_args()
    if given.folder:
        given.folder.mkdir(parents=True)
        found = measure(given.folder, given.recordings, given.bundle, given.todo_only, given.fieldmaps)
    else:
        with tempfile.TemporaryDirectory(prefix="planning-") as folder:
            found = measure(Path(folder), given.recordings, given.bundle, given.todo_only, given.fieldmaps)
    show(found, given.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
