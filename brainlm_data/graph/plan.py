"""What has to be done again, and why: the manifests of the outdir beside the configuration, and nothing else.

Snakemake makes what is missing. Whether something that is there still stands, it would judge by times of change and by
its own records below the working directory, which are others in a second clone or after a copy. So this decides: a
bundle that does not stand gets one more input (`paths.marker_path`), which is newer than its manifest.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import starmap
from pathlib import Path

from brainlm_data import paths
from brainlm_data.files import sidecar
from brainlm_data.graph.view import DagView
from brainlm_data.runner.manifest import Cause, Expected, combined, standing
from brainlm_data.stage import Stage

MANY, CHECKERS = 200, 4  # manifests that are checked by more than one process, and by how many
Task = tuple[Path, Expected]


@dataclass
class Redone:
    """What one cause makes redone: an example of it, and the bundles of the stages that it is seen in."""

    example: str
    bundles: dict[str, list[str]] = field(default_factory=dict)


class Plan:
    """Which bundles of which stages do not stand.

    Attributes
    ----------
    redone: stage -> bundles whose results are there and have to be made again, followers included.
    causes: cause -> what it makes redone, without followers.
    """

    def __init__(self, dag: DagView, forced: Mapping[str, Collection[str]]) -> None:
        self.redone: dict[str, set[str]] = {}
        self.causes: dict[str, Redone] = {}
        self._dag = dag
        self._contents: dict[str, dict[str, str]] = {}  # stage -> bundle -> content of its manifest, where it stands
        times: dict[tuple[str, str], tuple[int, int]] = {}
        for stage in dag.stages.values():
            node, there = dag[stage.name], dict[str, Path]()
            if getattr(dag.section(stage), "is_on", True):
                there = {b: path for b in dag.bundles.by_level[stage.level] if (path := node.path(b)).exists()}
            redone = self._check(stage, there) | (there.keys() & set(forced.get(stage.name, ())))
            for bundle in redone:
                self._contents[stage.name].pop(bundle, None)
                status = os.stat(there[bundle])
                times[stage.name, bundle] = status.st_mtime_ns, status.st_ctime_ns
            self.redone[stage.name] = redone
        if times:
            _mark(paths.marker_path(dag.outdir), times)

    def _check(self, stage: Stage, there: dict[str, Path]) -> set[str]:
        """Bundles that do not stand of themselves, or because what they read is made again."""
        tasks: list[Task] = []
        follow: set[str] = set()
        for bundle, path in there.items():
            upstream = self._upstream(stage, bundle)
            known = {name: content for name, content in upstream.items() if content}
            if len(known) < len(upstream):
                follow.add(bundle)
            tasks.append((path, Expected(self._dag[stage.name].signature, self._dag.listed(stage, bundle), known)))
        redone = follow
        self._contents[stage.name] = contents = {}
        for bundle, (content, causes) in zip(there, _standings(tasks, self._dag.outdir), strict=True):
            contents[bundle] = content
            for cause in causes:
                self.causes.setdefault(cause.text, Redone(cause.example)).bundles.setdefault(stage.name, []).append(
                    bundle
                )
            if causes:
                redone.add(bundle)
        return redone

    def _upstream(self, stage: Stage, bundle: str) -> dict[str, str]:
        """Upstream stage -> content of what this bundle reads of it; empty where that is made (again)."""
        digests: dict[str, str] = {}
        for name, bundles in self._dag.upstream_bundles(stage, bundle).items():
            contents = self._contents[name]
            whole = all(b in contents for b in bundles)
            digests[name] = combined((b, contents[b]) for b in bundles) if whole else ""
        return digests

    def stands(self, stage: str, bundle: str) -> bool:
        """True where a bundle's results are there and need not be made again."""
        return bundle in self._contents.get(stage, {})

    def marker(self, stage: str, bundle: str) -> list[str]:
        """The one more input of a bundle that does not stand."""
        return [str(paths.marker_path(self._dag.outdir))] if bundle in self.redone[stage] else []

    def lines(self) -> Iterator[str]:
        """Each cause with the stages that it makes redone and the number of recordings."""
        for cause, made in self.causes.items():
            more = ", ..." if sum(map(len, made.bundles.values())) > 1 else ""
            example = f" ({made.example}{more})" if made.example else ""
            stages = self._with_followers(made)
            count = self._n_recordings(made, stages)
            of = f" of {count} recording{'s' if count > 1 else ''}" if count else ""
            yield f"{cause}{example}: {', '.join(stages)}{of}"

    def _with_followers(self, made: Redone) -> list[str]:
        """The stages of a cause and those that are redone because they read them, in order."""
        seen = set(made.bundles)
        for stage in self._dag.stages.values():
            if self.redone[stage.name] and seen & {upstream.name for upstream in self._dag.upstream_of(stage)}:
                seen.add(stage.name)
        return [name for name in self._dag.stages if name in seen]

    def _n_recordings(self, made: Redone, stages: Sequence[str]) -> int:
        """Recordings of the first of these stages that works by recording; 0 where none does."""
        for name in stages:
            if self._dag.stages[name].level == "recording":
                bundles = made.bundles.get(name) or self.redone[name]
                return sum(len(self._dag.sizes_mb["recording", bundle]) for bundle in bundles)
        return 0


def _standings(tasks: Sequence[Task], outdir: Path) -> list[tuple[str, list[Cause]]]:
    """`standing` of many; of a cohort's by several processes, because it is a `stat` of millions of files."""
    check = partial(standing, outdir=outdir)
    if len(tasks) < MANY or "fork" not in multiprocessing.get_all_start_methods():
        return list(starmap(check, tasks))
    with multiprocessing.get_context("fork").Pool(min(CHECKERS, os.cpu_count() or 1)) as pool:
        return pool.starmap(check, tasks, chunksize=10)


def _mark(path: Path, times: Mapping[tuple[str, str], tuple[int, int]]) -> None:
    """Make the marker newer than all that does not stand, with a content that no job has seen that made any of it.

    Snakemake takes an input whose content is the one that it recorded as unchanged, however new it is. The content is a
    digest of `times`: (stage, bundle) -> when the manifest that does not stand was modified, and when it came to lie
    there (mtime, ctime; ns), which also differs where an old manifest comes back from a backup. The marker stays as it
    is where it says the same: a run that goes on may have it as an input.
    """
    text = hashlib.sha256(json.dumps(sorted(times.items())).encode()).hexdigest() + "\n"
    newest = max(modified for modified, _ in times.values())
    if path.is_file() and path.stat().st_mtime_ns > newest and path.read_bytes() == text.encode():
        return
    sidecar.write_text(path, text)
    if path.stat().st_mtime_ns <= newest:  # made on a machine whose clock is ahead
        os.utime(path, ns=(newest + 1_000_000, newest + 1_000_000))
