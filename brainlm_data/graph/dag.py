"""The graph of stages over bundles: what every rule's inputs, outputs and params are, and nothing about Snakemake.

Edges follow from the stages' declarations: a stage depends on the stages that write its inputs. What Snakemake tracks
are manifests, one per stage and bundle (docs/decisions/manifests.md says why).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from brainlm_data import paths
from brainlm_data.bids.index import Index, read_index
from brainlm_data.config import General, validate
from brainlm_data.dataset.splits import external_subjects
from brainlm_data.errors import ConfigError
from brainlm_data.files import sidecar
from brainlm_data.files.lock import hold
from brainlm_data.graph import edges, listing, needs
from brainlm_data.graph.edges import on_route, placeholders, producers_of, reads_listing, route_of, upstream_of
from brainlm_data.imports import listed
from brainlm_data.runner.manifest import COHORT, repairs_of
from brainlm_data.stage import Level, Stage
from brainlm_data.stages.input import options_of

# A scheduler's signal goes to all processes at once: tee stays to the end and the shell waits, so that the program can
# say and keep what it has (training writes its checkpoint).
COMMAND = (
    "trap : TERM USR1; {program} run {stage} --route {route} --outdir {outdir} --bundle {bundle}"
    " --signature {{params.cfg:q}} --repairs {{params.repairs}} --threads {threads} 2>&1"
    " | (trap '' TERM USR1; exec tee {{log:q}})"
)


def _bundle(wildcards: Any) -> str:
    """The bundle that a rule's wildcards name; a rule of cohort level has none."""
    return getattr(wildcards, "bundle", COHORT)


@dataclass(frozen=True)
class Node:
    """A stage as a rule sees it."""

    dag: Dag
    stage: Stage

    @property
    def manifest(self) -> str:
        """Manifest pattern, with the wildcard `{bundle}` below cohort level."""
        bundle = COHORT if self.stage.level == "cohort" else "{bundle}"
        return str(paths.manifest_path(self.dag.outdir, self.stage.name, bundle))

    @property
    def log(self) -> str:
        """Log pattern."""
        bundle = COHORT if self.stage.level == "cohort" else "{bundle}"
        return str(paths.log_path(self.dag.outdir, self.stage.name, bundle))

    @property
    def manifests(self) -> list[str]:
        """Every manifest of this stage."""
        return [
            str(paths.manifest_path(self.dag.outdir, self.stage.name, b)) for b in self.dag.bundles[self.stage.level]
        ]

    @property
    def each(self) -> int:
        """Threads of one unit: the section's own key where it has one, times its processes."""
        section = self.dag.section(self.stage)
        each = getattr(section, "threads", None) or getattr(section, "n_procs", None) or self.dag.config.threads
        return int(each * getattr(section, "processes", 1))

    @property
    def threads(self) -> int:
        """Threads of the job: those of all recordings that it processes at once."""
        return self.each * needs.workers(self.dag.config, self.stage)

    @property
    def resources(self) -> dict[str, Any]:
        """What the job asks of a cluster: functions `mem_mb` and `runtime`, and GPUs where it uses them."""
        return needs.resources(self.dag, self.stage)

    def files(self, ending: str) -> list[str]:
        """Paths of all cohort-level outputs with this ending."""
        return [self.file(name) for name in self.stage.outputs if paths.ARTIFACTS[name].pattern.endswith(ending)]

    def file(self, artifact: str) -> str:
        """Path of a cohort-level output, for rules that declare it."""
        return str(paths.artifact_path(artifact, self.dag.outdir, names=self.dag.names))

    def inputs(self, wildcards: Any) -> dict[str, list[str]]:
        """Upstream manifests of this bundle, and the listing where the stage reads raw files."""
        bundle = _bundle(wildcards)
        files: dict[str, list[str]] = {"upstream": []}
        for name, bundles in self.dag.upstream_bundles(self.stage, bundle).items():
            files["upstream"] += [str(paths.manifest_path(self.dag.outdir, name, b)) for b in bundles]
        if reads_listing(self.stage):
            files["listing"] = [str(paths.listing_path(self.dag.outdir, self.stage.level, bundle))]
        return files

    @property
    def asked(self) -> str:
        """The section, VERSION and names as canonical JSON, of any bundle."""
        return self.stage.signature(self.dag.section(self.stage), self.dag.names_of(self.stage))

    def signature(self, wildcards: Any = None) -> str:
        """What is asked, with a digest of what is said of this bundle's units alone, where something is.

        The rule's `params.cfg`: what makes a rerun happen.
        """
        details = self.dag.details.get((self.stage.name, _bundle(wildcards)), {})
        return edges.with_details(self.asked, details, self.dag.outdir, self.stage.name)

    def repairs(self, wildcards: Any = None) -> int:
        """The rule's `params.repairs`: another number makes this bundle rerun (`manifest.repairs`)."""
        path = paths.manifest_path(self.dag.outdir, self.stage.name, _bundle(wildcards))
        if not self.dag.planning:
            return repairs_of([path], self.asked, self.dag.outdir)[path]
        return self.dag.checked(self.stage.name)[path]


class Dag:
    """A validated configuration, its index and its bundles.

    Parameters
    ----------
    raw: config.yaml as Snakemake read it, overrides included.
    stages: all stages, data and model, in order.
    planning: False in a job on a cluster, which takes the index as it was planned and writes no listing.

    Raises
    ------
    ConfigError, InputError: before any job.
    """

    def __init__(self, raw: Mapping[str, Any], stages: Sequence[Stage], planning: bool = True) -> None:
        self.planning, self._checked = planning, dict[str, dict[Path, int]]()
        self.config: General = validate(raw, stages)
        self.outdir = self.config.outdir
        self.all_stages = {stage.name: stage for stage in stages}
        self.route = route_of(self.config)
        self.stages = {stage.name: stage for stage in on_route(stages, self.route)}
        self._check_route()
        self.producers = producers_of(list(self.stages.values()))
        bundles = {r.id: self.recording_bundle(r.id, r.subject) for r in self.index.recordings}
        self._check_external()
        self.details = edges.details_of(list(self.stages.values()), self.config, self.index, bundles)
        self.n_recordings, self.left_aside = len(self.index.recordings), self.index.ignored
        self.notes = self.index.notes
        self.sizes_mb = needs.sizes_mb(self)  # (level, bundle) -> of the raw image of each of its units, uncompressed
        if planning:
            listing.write(self)  # asks for all that is derived from the index
            del self.__dict__["index"]  # a cohort's is 100 MB, which Snakemake needs next

    def _check_route(self) -> None:
        """What is asked for must be something that is done on the way to the series."""
        for name in sorted(self.all_stages.keys() - self.stages.keys()):
            if getattr(self.section(self.all_stages[name]), "is_on", False):
                if self.route == "import":
                    raise ConfigError(f"config: {name} needs input.kind: bids", f"take {name} out")
                raise ConfigError(
                    f"config: {name} needs preprocess.engine: native, it is {self.route}",
                    f"take {name} out; {self.route} writes its own 4-D images below derivatives/fmriprep",
                )

    def _check_external(self) -> None:
        """A site that nobody is of would else be found when all the work is done."""
        groups = getattr(getattr(self.config, "collate", None), "external", {})
        people = [(r.subject, self.index.phenotypes.get(r.subject, {})) for r in self.index.recordings]
        external_subjects(people, groups)

    def __getitem__(self, name: str) -> Node:
        return Node(self, self.all_stages[name])

    def section(self, stage: Stage) -> Any:
        """The stage's own section of the configuration."""
        return getattr(self.config, stage.name)

    @property
    def source(self) -> Path:
        """Folder of what the run starts from."""
        return listed.folder(getattr(self.config, "input").path) if self.route == "import" else self.config.bids_dir  # noqa: B009

    @cached_property
    def index(self) -> Index:
        """Recordings and subjects of the dataset, cached beside the outputs."""
        cache = self.outdir / "work" / "index.json"
        if self.route == "import":
            given, how = (getattr(self.config, name) for name in ("input", "imported"))
            options = options_of(given, how)
            return listed.index(given.kind, given.path, options, self.config.select, cache, not self.planning)
        return read_index(self.config.bids_dir, self.config.select, cache, as_cached=not self.planning)

    @cached_property
    def names(self) -> dict[str, str]:
        """Values of the placeholders in paths: each is the `name` key of its owner's section."""
        owners = {"space": "template", "seg": "atlas", "model": "train"}
        found = {key: getattr(self.config, owner).name for key, owner in owners.items() if owner in self.stages}
        if self.route != "import":
            return found
        given = getattr(self.config, "input")  # noqa: B009
        return found | listed.names(given.kind, given.atlas, given.space)

    def names_of(self, stage: Stage) -> dict[str, str]:
        """Those of the names that occur in the paths of this stage's outputs."""
        return {key: self.names[key] for key in sorted(placeholders(stage))}

    @cached_property
    def bundle_of(self) -> dict[str, str]:
        """Subject id -> bundle. Kept in `work/bundles.json` and only ever appended to; subjects stay together."""
        counts: dict[str, int] = {}
        for recording in self.index.recordings:
            counts[f"sub-{recording.subject}"] = counts.get(f"sub-{recording.subject}", 0) + 1
        if self.config.bundle_size == 1:
            return {subject: subject for subject in counts}
        path = self.outdir / "work" / f"bundles-of-{self.config.bundle_size}.json"
        assigned: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        new = [subject for subject in counts if subject not in assigned]
        number, load = len(set(assigned.values())), self.config.bundle_size
        for subject in new:
            if load >= self.config.bundle_size:
                number, load = number + 1, 0
            assigned[subject] = f"bundle-{number:05d}"
            load += counts[subject]
        if new:
            sidecar.write_json(path, assigned)
        return {subject: assigned[subject] for subject in counts}

    def recording_bundle(self, recording_id: str, subject: str) -> str:
        """The bundle that a recording is in: itself at bundle_size 1, else its subject's."""
        return recording_id if self.config.bundle_size == 1 else self.bundle_of[f"sub-{subject}"]

    @cached_property
    def bundles(self) -> dict[Level, list[str]]:
        """Bundle names by level. A subject without T1w is in no subject bundle."""
        recording = {self.recording_bundle(r.id, r.subject): None for r in self.index.recordings}
        subject = {self.bundle_of[s.id]: None for s in self.index.subjects if s.t1w}
        return {"recording": list(recording), "subject": list(subject), "cohort": [COHORT]}

    @cached_property
    def subject_bundles(self) -> dict[str, list[str]]:
        """Recording bundle -> the subject bundles that it needs."""
        found: dict[str, dict[str, None]] = {b: {} for b in self.bundles["recording"]}
        for recording in self.index.recordings:
            bundle = self.bundle_of[f"sub-{recording.subject}"]
            if bundle in self.bundles["subject"]:
                found[self.recording_bundle(recording.id, recording.subject)][bundle] = None
        return {bundle: list(needed) for bundle, needed in found.items()}

    def upstream_bundles(self, stage: Stage, bundle: str) -> dict[str, list[str]]:
        """Upstream stage name -> bundles of it that this job needs."""
        found: dict[str, list[str]] = {}
        for upstream in upstream_of(stage, self.producers):
            if upstream.level == "cohort":
                found[upstream.name] = [COHORT]
            elif stage.level == "cohort":
                found[upstream.name] = self.bundles[upstream.level]
            elif upstream.level == "subject" and stage.level == "recording":
                found[upstream.name] = self.subject_bundles[bundle]
            else:
                found[upstream.name] = [bundle]
        return found

    def checked(self, stage: str) -> dict[Path, int]:
        """Manifest -> `manifest.repairs`, of all bundles of a stage; looked at once."""
        if stage not in self._checked:
            files = [Path(file) for file in self[stage].manifests]
            self._checked[stage] = repairs_of(files, self[stage].asked, self.outdir)
        return self._checked[stage]

    def begin(self) -> TextIO:
        """Lock the outdir for this process and note what was asked for, which `brainlm-data verify` compares with."""
        lock = hold(self.outdir)
        asked = {name: json.loads(self[name].asked) for name in self.stages}
        listing.write_changed(paths.asked_path(self.outdir), asked)
        return lock

    def command(self, stage: str, program: str = "brainlm-data", level: Level | None = None) -> str:
        """The shell command of a rule; `level`: of the stage, where its name is left for the rule to fill in."""
        cohort = (level or self.all_stages[stage].level) == "cohort"
        bundle, threads = (
            (COHORT, "{threads}") if cohort else ("{wildcards.bundle:q}", "{resources.each} --cores {threads}")
        )
        outdir = shlex.quote(str(self.outdir)).replace("{", "{{").replace("}", "}}")
        return COMMAND.format(
            program=program, stage=stage, bundle=bundle, route=self.route, outdir=outdir, threads=threads
        )

    def preprocessing(self) -> list[str]:
        """Stages of subjects and recordings that are asked for (`keep: []` is not), and the QC page of all."""
        found = [s for s in self.stages.values() if s.level != "cohort" or s.name == "qcgroup"]
        return [s.name for s in found if getattr(self.section(s), "is_on", True)]

    def manifests(self, stages: Sequence[str]) -> list[str]:
        """Every manifest of these stages."""
        return [manifest for name in stages for manifest in self[name].manifests]
