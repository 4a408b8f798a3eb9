"""What the runner itself costs before a cohort stage begins: reading the manifests of all recordings.

    python -m benchmarks.manifests --json [--recordings 1000 10000 76000] [--bundle 100]

Manifests of stages `resample` and `qc` as a run writes them (three outputs and sidecars each, a sentence of every stage
before, half of the sentences with a number of their own), and the receipt and manifest of a stage that reads the series
and metrics of all recordings, as `collate`, and does nothing. Output files are empty. CPU seconds of the whole job, the
peak above the start, and the size of the receipt; each number of recordings in a process of its own.

Keys: for each number of recordings `n<number>_{cpu_s, peak_mb, receipt_mb}`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.tools import Cost, apart, one_thread, parser, show

one_thread()

# ruff: noqa: E402
from brainlm_data import paths
from brainlm_data.files import sidecar
from brainlm_data.pipeline import STAGES
from brainlm_data.runner.bundle import Job, run_bundle
from brainlm_data.runner.manifest import COHORT
from brainlm_data.stage import Facts, Files, Stage, StageConfig

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # sha256 of no bytes
SENTENCE = 250  # characters, about
NAMES = {"space": "MNI152NLin2009aSym", "seg": "demo424", "model": "tiny"}
UPSTREAM = {"resample": ("parcels",), "qc": ("qc_metrics", "qc_page")}


def plant(outdir: Path, recordings: int, bundle: int) -> tuple[list[str], list[dict[str, Any]]]:
    """Manifests of both stages with the files that they name; the bundles, and a cohort's rows."""
    known = {stage.name: stage for stage in STAGES}
    before = [s.name for s in STAGES if s.level != "cohort" and "native" in s.routes][:13]
    rows, bundles = list[dict[str, Any]](), []
    for first in range(0, recordings, bundle):
        name = f"bundle-{first // bundle + 1:05d}"
        bundles.append(name)
        units: dict[str, dict[str, Any]] = {stage: {} for stage in UPSTREAM}
        for number in range(first, min(first + bundle, recordings)):
            subject = f"{number // 2 + 1:06d}"
            unit = f"sub-{subject}_task-rest_run-{number % 2 + 1}"
            prefix = paths.recording_prefix(subject, None, unit)
            rows.append(
                {
                    "id": unit,
                    "prefix": prefix,
                    "subject": subject,
                    "session": None,
                    "task": "rest",
                    "run": str(number % 2 + 1),
                    "phenotypes": {"age": 40 + number % 40, "sex": "FM"[number % 2]},
                }
            )
            said = {s: f"{s}: {number if n % 2 else 0} " + "x" * SENTENCE for n, s in enumerate(before)}
            for stage, artifacts in UPSTREAM.items():
                outputs = {}
                for artifact in artifacts:
                    file = paths.artifact_path(artifact, outdir, prefix, NAMES)
                    beside = sidecar.sidecar_path(file)
                    for key, path in {artifact: file, f"{artifact}.json": beside}.items():
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.touch()
                        outputs[key] = {
                            "path": str(path.relative_to(outdir)),
                            "size": 0,
                            "sha256": EMPTY,
                            "mtime_ns": path.stat().st_mtime_ns,
                        }
                units[stage][unit] = {"status": "done", "reason": "", "outputs": outputs, "methods": said}
        for stage, entries in units.items():
            signature = known[stage].signature(known[stage].Config())
            manifest = {"stage": stage, "bundle": name, "signature": signature, "content": "", "units": entries}
            sidecar.write_record(paths.manifest_path(outdir, stage, name), manifest)
    return bundles, rows  # fmt: skip


def nothing(inputs: Files, outputs: Files, config: StageConfig) -> Facts:
    """Write an empty table."""
    outputs["recordings"].write_bytes(b"")
    return {"Recordings": len(inputs.meta["recordings"])}


def gather(outdir: Path, bundles: list[str], rows: list[dict[str, Any]]) -> dict[str, float]:
    """The job of a stage that reads what collate reads."""
    stage = Stage(
        "gather", 1, "cohort", "Read all manifests.", StageConfig, ("parcels", "qc_metrics"), ("recordings",), nothing,
        lambda facts: "",
    )  # fmt: skip
    unit = {"id": COHORT, "prefix": "", "subject": "", "raw": {}, "meta": {}, "recordings": rows}
    known = {stage.name: stage for stage in STAGES}
    producers = {artifact: known[name] for name, artifacts in UPSTREAM.items() for artifact in artifacts}
    job = Job(
        stage, StageConfig(), {}, producers, outdir, COHORT, [unit], dict.fromkeys(UPSTREAM, bundles),
        stage.signature(StageConfig()),
    )  # fmt: skip
    with Cost() as cost:
        run_bundle(job)
    receipt = paths.receipt_path(outdir, "gather", COHORT).stat().st_size / 1e6
    return {"cpu_s": cost.seconds, "peak_mb": cost.mb, "receipt_mb": receipt}


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--recordings", type=int, nargs="+", default=[1000, 10000, 76000])
    arguments.add_argument("--bundle", type=int, default=100)
    given = arguments.parse_args()
    found: dict[str, float] = {}
    for number in given.recordings:
        with tempfile.TemporaryDirectory(prefix="manifests-") as folder:
            bundles, rows = apart(plant, Path(folder), number, given.bundle)
            measured = apart(gather, Path(folder), bundles, rows)
        found |= {f"n{number}_{key}": value for key, value in measured.items()}
    show(found, given.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
