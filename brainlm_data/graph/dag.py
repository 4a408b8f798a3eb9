"""The graph of stages over bundles: what every rule's inputs, outputs and params are, and nothing about Snakemake.

Edges follow from the stages' declarations: a stage depends on the stages that write its inputs. What Snakemake tracks
are manifests, one per stage and bundle (docs/decisions/manifests.md says why).
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from brainlm_data import paths
from brainlm_data.bids.index import Index, read_index
from brainlm_data.config import General, validate
from brainlm_data.dataset.groups import check_columns
from brainlm_data.dataset.splits import external_subjects, said_of_unknown, unknown_groups
from brainlm_data.errors import ConfigError, InputError
from brainlm_data.files import sidecar
from brainlm_data.files.fetch import Wanted
from brainlm_data.files.lock import clear_scratch, hold, planning
from brainlm_data.graph import ahead, edges, listing, needs
from brainlm_data.graph.bundles import Bundles
from brainlm_data.graph.edges import on_route, placeholders, producers_of, route_of
from brainlm_data.graph.plan import Plan
from brainlm_data.graph.watched import check_there, watched
from brainlm_data.imports import listed
from brainlm_data.runner.manifest import COHORT
from brainlm_data.stage import Level, Stage
from brainlm_data.stages.input import options_of

# Of every stage, filled in by Snakemake; what people named is quoted. A scheduler's signal goes to all processes at
# once: tee stays to the end and the shell waits, so that the program can say and keep what it has (a checkpoint).
COMMAND = (
    "trap : TERM USR1; {{params.program}} run {{params.stage}} --route {route} --outdir {outdir}"
    " --bundle {{params.bundle:q}} --signature {{params.signature:q}}"
    " --threads {{params.threads}} --cores {{threads}} 2>&1"
    " | (trap '' TERM USR1; exec tee {{log:q}})"
)


def _bundle(wildcards: Any) -> str:
    """The bundle that a rule's wildcards name; a rule of cohort level has none."""
    return getattr(wildcards, "bundle", COHORT)


@contextmanager
def _written(outdir: Path) -> Iterator[None]:
    """Raises ConfigError where something could not be written below outdir."""
    try:
        yield
    except OSError as error:
        if not str(error.filename or "").startswith(str(outdir)):
            raise
        raise ConfigError(
            f"config: outdir: {outdir} cannot be written ({error.strerror})", "choose another outdir"
        ) from error


@dataclass(frozen=True)
class Node:
    """A stage as a rule sees it."""

    dag: Dag
    stage: Stage

    @property
    def manifest(self) -> str:
        """Manifest pattern, with the wildcard `{bundle}` below cohort level."""
        return str(self.path(COHORT if self.stage.level == "cohort" else "{bundle}"))

    def path(self, bundle: str) -> Path:
        """Manifest of one bundle."""
        return paths.manifest_path(self.dag.outdir, self.stage.name, bundle)

    @property
    def log(self) -> str:
        """Log pattern."""
        bundle = COHORT if self.stage.level == "cohort" else "{bundle}"
        return str(paths.log_path(self.dag.outdir, self.stage.name, bundle))

    @property
    def manifests(self) -> list[str]:
        """Every manifest of this stage."""
        return [str(self.path(bundle)) for bundle in self.dag.bundles.by_level[self.stage.level]]

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

    def threads_of_unit(self, wildcards: Any, threads: int) -> int:
        """Threads that a job of so many gives each of the units that it processes at once."""
        return threads if self.stage.level == "cohort" else self.each

    @property
    def resources(self) -> dict[str, Any]:
        """What the job asks of a cluster: functions `mem_mb` and `runtime`, and GPUs where it uses them."""
        return needs.resources(self.dag, self.stage)

    @property
    def declared(self) -> dict[str, str]:
        """Cohort-level files that the rule declares besides its manifest: tables, models, figures, pages, by artifact.

        Not the store, which is a folder and grows, nor what may not be written, nor what has a sidecar.
        """
        files: dict[str, str] = {}
        for name in self.stage.outputs:
            artifact = self.dag.artifacts[name]
            is_plain = not artifact.has_sidecar and not artifact.pattern.endswith(".zarr")
            if self.stage.level == "cohort" and is_plain and name not in self.stage.optional:
                files[name] = str(artifact.path(self.dag.outdir, names=self.dag.names))
        return files

    def bundle(self, wildcards: Any) -> str:
        """The bundle of a job."""
        return _bundle(wildcards)

    def upstream(self, wildcards: Any) -> list[str]:
        """Upstream manifests of this bundle."""
        files: list[str] = []
        for name, bundles in self.dag.upstream_bundles(self.stage, _bundle(wildcards)).items():
            files += [str(self.dag[name].path(bundle)) for bundle in bundles]
        return files

    def requested(self, wildcards: Any = None) -> str:
        """`signature`, as the rule's params ask for it: not before a job needs it."""
        return self.signature

    @cached_property
    def signature(self) -> str:
        """What is asked of the stage, as canonical JSON: `Stage.signature`."""
        section = self.dag.section(self.stage)
        return self.stage.signature(section, self.dag.names_of(self.stage), watched(self.stage, section))


class Dag:
    """A validated configuration, its index and its bundles.

    Parameters
    ----------
    raw: config.yaml as Snakemake read it, overrides included.
    stages: all stages, data and model, in order.
    planning: False in a job on a cluster, which takes the index as it was planned and writes no listing.
    read: False where only the names of the rules are wanted: the dataset is not looked at.

    Raises
    ------
    ConfigError, InputError: before any job.
    """

    def __init__(
        self, raw: Mapping[str, Any], stages: Sequence[Stage], planning: bool = True, read: bool = True
    ) -> None:
        self.planning = planning
        self.config: General = validate(raw, stages)
        self.outdir = self.config.outdir
        self.all_stages = {stage.name: stage for stage in stages}
        self.artifacts = paths.artifacts_of(stages)
        self.route = route_of(self.config)
        self.stages = {stage.name: stage for stage in on_route(stages, self.route)}
        self._nodes = {name: Node(self, stage) for name, stage in self.all_stages.items()}
        self._check_route()
        self.producers = producers_of(list(self.stages.values()))
        self.forced: dict[str, set[str]] = {}  # stage -> bundles that are redone whatever their manifests say
        self._units: dict[tuple[Level, str], str] = {}
        self._planned = ""  # digest of the listings that `prepare` wrote
        if read:
            self.read()

    def read(self) -> None:
        """What follows from the dataset."""
        self.bundles = Bundles(self.index, self.config.bundle_size, self.outdir)
        unknown = self._check_external()
        self._check_groups()
        self.splits = ahead.people(self.index, self.config)
        self.n_recordings, self.left_aside = len(self.index.recordings), self.index.ignored
        self.notes = [*self.index.said(), *unknown]
        self.faults = [f"{r.id}: {r.fault}" for r in self.index.recordings if r.fault]
        self.sizes_mb = needs.sizes_mb(self)  # (level, bundle) -> of the raw image of each of its units, uncompressed

    def _check_route(self) -> None:
        """What is asked for must be something that is done on the way to the series."""
        for name in sorted(self.all_stages.keys() - self.stages.keys()):
            if getattr(self.section(self.all_stages[name]), "is_on", False):
                raise self._off_route(name)

    def _off_route(self, name: str) -> ConfigError:
        """A stage that is asked for and not on the way to the series."""
        if self.route == "import":
            return ConfigError(f"config: {name} needs input.kind: bids", f"take {name} out")
        return ConfigError(
            f"config: {name} needs preprocess.engine: native, it is {self.route}",
            f"take {name} out; {self.route} writes its own 4-D images below derivatives/fmriprep",
        )

    def _check_external(self) -> list[str]:
        """A site that nobody is of would else be found when all the work is done. Whose site is not known, in words."""
        groups = getattr(getattr(self.config, "collate", None), "external", {})
        people = [(r.subject, self.index.phenotypes.get(r.id, {})) for r in self.index.recordings]
        external_subjects(people, groups, self.index.unjoined)
        return [said_of_unknown(column, who) for column, who in unknown_groups(people, groups).items()]

    def _check_groups(self) -> None:
        """Columns of qcgroup, which runs when all other work is done."""
        by = getattr(getattr(self.config, "qcgroup", None), "by", "auto")
        if by != "auto" and "qcgroup" in self.stages:
            check_columns(by, self.index.phenotypes.values())

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

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
        with _written(self.outdir):
            if self.route == "import":
                given, how = (getattr(self.config, name) for name in ("input", "imported"))
                options = options_of(given, how)
                return listed.index(given.kind, given.path, options, self.config.select, cache, not self.planning)
            return read_index(self.config.bids_dir, self.config.select, cache, as_cached=not self.planning)

    @cached_property
    def names(self) -> dict[str, str]:
        """Values of the placeholders in paths: each is the `name` of the section whose stage fills it."""
        names = {stage.fills: self.section(stage).name for stage in self.stages.values() if stage.fills}
        if self.route != "import":
            return names
        given = getattr(self.config, "input")  # noqa: B009
        return names | listed.names(given.kind, given.atlas, given.space)

    def names_of(self, stage: Stage) -> dict[str, str]:
        """Those of the names that occur in the paths of this stage's outputs."""
        return {key: self.names[key] for key in sorted(placeholders(stage))}

    def upstream_of(self, stage: Stage) -> list[Stage]:
        """The stages whose outputs a stage reads."""
        return edges.upstream_of(stage, self.producers)

    def upstream_bundles(self, stage: Stage, bundle: str) -> dict[str, list[str]]:
        """Upstream stage name -> bundles of it that this job needs."""
        return {upstream.name: self.bundles.upstream(stage, upstream, bundle) for upstream in self.upstream_of(stage)}

    @cached_property
    def details(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(stage, bundle) -> recording -> what is said of it alone."""
        bundle_of = {r.id: self.bundles.of_recording(r.id, r.subject) for r in self.index.recordings}
        return edges.details_of(list(self.stages.values()), self.config, self.index, bundle_of)

    @cached_property
    def detailed(self) -> set[str]:
        """The stages of which `details` has something."""
        return {name for name, _ in self.details}

    def prepare(self) -> None:
        """Write what jobs read in place of the index and of config.yaml; nothing that was made changes.

        Where another run holds the lock, nothing is written: its jobs read what is there.

        Raises
        ------
        ConfigError: a file that the configuration names is not there, or outdir cannot be written.
        """
        check_there((stage, self.section(stage)) for stage in self.stages.values())
        for name in self.stages:
            _ = self[name].signature  # reads the files that its section names
        with _written(self.outdir), planning(self.outdir) as is_free:
            if is_free:
                self.bundles.write()
            self._units, self._planned = listing.write(self, to_disk=is_free)
        del self.__dict__["index"]  # a cohort's is 100 MB, which Snakemake needs next

    def listed(self, stage: Stage, bundle: str) -> str:
        """Digest of what a job reads of its listing; after `prepare`."""
        details = self.details.get((stage.name, bundle), {})
        return edges.listing_digest(stage, self.artifacts, self._units[stage.level, bundle], details)

    @cached_property
    def plan(self) -> Plan:
        """What has to be done again; after `prepare`."""
        return Plan(self, self.forced)

    def named(self, words: Iterable[str]) -> dict[str, set[str]]:
        """Stage -> bundles that words of a command line name: by stage, by manifest or by another file of a rule."""
        named: dict[str, set[str]] = {}
        for word in words:
            file = Path(os.path.abspath(word))
            for name, stage in self.stages.items():
                node, bundles = self[name], self.bundles.by_level[stage.level]
                if word == name:
                    named.setdefault(name, set()).update(bundles)
                elif file == Path(os.path.abspath(node.path(file.stem))) and file.stem in bundles:
                    named.setdefault(name, set()).add(file.stem)
                elif file in {Path(os.path.abspath(declared)) for declared in node.declared.values()}:
                    named.setdefault(name, set()).add(COHORT)
        return named

    def hold(self) -> TextIO:
        """Lock the outdir until the returned file is closed or this process ends, and clear what killed jobs left.

        After `prepare`.

        Raises
        ------
        InputError: another run holds the lock, or has planned something else there since `prepare`, or held the lock
            then: jobs would read its listings.
        """
        with planning(self.outdir):
            lock, is_ours = hold(self.outdir), listing.planned(self.outdir) == self._planned
        if not is_ours:
            lock.close()
            raise InputError(f"another run has planned or written in {self.outdir} meanwhile", "run this again")
        clear_scratch(self.outdir)
        return lock

    def begin(self, jobs: Iterable[tuple[str, str]]) -> TextIO:
        """Lock the outdir for this process, note what is requested, and forget what is forced to be done again.

        `jobs`: (stage, bundle) of what is going to run. Nothing else is forgotten, however much is forced.
        """
        jobs = list(jobs)
        if jobs:
            self._check_space(jobs)
        lock = self.hold()
        before = sidecar.read_record(paths.requested_path(self.outdir))
        self._note(before.get("finished", []))
        for name, bundle in jobs:
            if bundle in self.forced.get(name, ()):
                self._forget(name, bundle)
        return lock

    def _check_space(self, jobs: Sequence[tuple[str, str]]) -> None:
        """Say what jobs will take. Raises InputError where that does not fit on the disk."""
        expected = needs.estimate(self, jobs, self.plan.redone)
        print(f"to do: {expected.words(self)}", file=sys.stderr, flush=True)
        expected.check(self)

    def estimated(self) -> Iterator[str]:
        """For `snakemake -n`: what all that is not made yet, or has to be made again, takes, and whether it fits."""
        jobs = [(s.name, b) for s in self._switched_on() for b in self.bundles.by_level[s.level]]
        to_do = [(stage, bundle) for stage, bundle in jobs if not self.plan.stands(stage, bundle)]
        if to_do:
            expected = needs.estimate(self, to_do, self.plan.redone)
            yield f"to do, to the last stage: {expected.words(self)}"
            if warning := expected.warning(self):
                yield warning

    def _forget(self, stage: str, bundle: str) -> None:
        """Remove the receipts of a bundle's units, and what killed jobs left to go on from."""
        listing_file = paths.listing_path(self.outdir, self.stages[stage].level, bundle)
        for unit in sidecar.read_record(listing_file)["units"]:
            paths.receipt_path(self.outdir, stage, unit["id"]).unlink(missing_ok=True)
            shutil.rmtree(paths.state_path(self.outdir, stage, unit["id"]), ignore_errors=True)

    def finish(self) -> None:
        """Note which stages are there with all their manifests: from now on `brainlm-data verify` misses each."""
        stages = [s for s in self._switched_on() if all(Path(file).exists() for file in self[s.name].manifests)]
        self._note([(stage.name, stage.level) for stage in stages])

    def _switched_on(self) -> list[Stage]:
        """The stages on the route without those that the configuration switches off (`keep.images: []`)."""
        return [stage for stage in self.stages.values() if getattr(self.section(stage), "is_on", True)]

    def _note(self, finished: Sequence[Sequence[str]]) -> None:
        signatures = {stage.name: json.loads(self[stage.name].signature) for stage in self._switched_on()}
        content = {"signatures": signatures, "finished": [each for each in finished if each[0] in signatures]}
        listing.note_changed(paths.requested_path(self.outdir), content, indent=2)

    @property
    def command(self) -> str:
        """The shell command of every rule, for Snakemake to fill in."""
        outdir = shlex.quote(str(self.outdir)).replace("{", "{{").replace("}", "}}")
        return COMMAND.format(route=self.route, outdir=outdir)

    def extras(self) -> list[str]:
        """Stages that nothing follows and that the configuration switches on: 4-D images of `keep`."""
        return [s.name for s in self.stages.values() if getattr(self.section(s), "is_on", False)]

    def preprocessing(self) -> list[str]:
        """Stages of subjects and recordings that are asked for (`keep: []` is not), and the QC page of all."""
        stages = [s for s in self.stages.values() if (s.level != "cohort" or s.name == "qcgroup") and not s.on_demand]
        return [s.name for s in stages if getattr(self.section(s), "is_on", True)]

    def look_ahead(self, name: str) -> None:
        """What can be known of a stage before the first job. Raises InputError where it cannot go well."""
        if name not in self.stages:
            raise self._off_route(name)
        later: list[Wanted] = []
        for stage in self.stages.values():
            if stage.ahead and stage.name != name and not self.plan.stands(stage.name, COHORT):
                later += stage.ahead(self.section(stage))
        ahead.look(self.stages[name], self.section(self.stages[name]), self.splits, later)

    def said_of_model(self) -> str:
        """Why the default target trains no model, or one whose scores are no result; empty where all is well."""
        return ahead.no_model(self.splits) or ahead.no_result(self.splits)

    def no_model(self) -> str:
        """Why the default target trains no model; empty where it does."""
        return ahead.no_model(self.splits)

    def goal(self, last: str) -> list[str]:
        """The manifests of the default target: stage `last`, or where no model can be trained honestly, the dataset."""
        stages = ["collate", *self.extras()] if self.no_model() else [last]
        return self.manifests([*stages, *self.preprocessing()])

    def manifests(self, stages: Sequence[str]) -> list[str]:
        """Every manifest of these stages."""
        return [manifest for name in stages for manifest in self[name].manifests]
