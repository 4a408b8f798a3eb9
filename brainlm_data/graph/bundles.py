"""Which recordings and subjects one job processes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from brainlm_data.bids.index import Index
from brainlm_data.files import sidecar
from brainlm_data.runner.manifest import COHORT
from brainlm_data.stage import Level, Stage


class Bundles:
    """The bundles of an index: at size 1 every recording and every subject is its own, else subjects stay together.

    A subject keeps its bundle for ever: `work/bundles-of-N.json` is only appended to, so that new people make new
    bundles and leave the others alone.

    Attributes
    ----------
    by_level: names of the bundles, in order; a subject without T1w is in no subject bundle.
    of_subject: subject id (`sub-01`) -> bundle. subjects: recording bundle -> the subject bundles that it needs.
    """

    def __init__(self, index: Index, size: int, outdir: Path) -> None:
        self._size, self._file = size, outdir / "work" / f"bundles-of-{size}.json"
        self._assigned: dict[str, str] = {}
        self._has_new = False
        self.of_subject = self._assign(Counter(f"sub-{r.subject}" for r in index.recordings))

        recording = dict.fromkeys(self.of_recording(r.id, r.subject) for r in index.recordings)
        subject = dict.fromkeys(self.of_subject[s.id] for s in index.subjects if s.t1w)
        self.by_level: dict[Level, list[str]] = {
            "recording": list(recording), "subject": list(subject), "cohort": [COHORT],
        }  # fmt: skip

        needed: dict[str, dict[str, None]] = {bundle: {} for bundle in recording}
        for r in index.recordings:
            bundle = self.of_subject[f"sub-{r.subject}"]
            if bundle in subject:
                needed[self.of_recording(r.id, r.subject)][bundle] = None
        self.subjects = {bundle: list(names) for bundle, names in needed.items()}

    def _assign(self, n_recordings: Counter[str]) -> dict[str, str]:
        """Subject id -> bundle; new subjects fill new bundles, one after the other."""
        if self._size == 1:
            return {subject: subject for subject in n_recordings}
        self._assigned = sidecar.read_record(self._file)
        number, load = len(set(self._assigned.values())), self._size
        for subject, count in n_recordings.items():
            if subject in self._assigned:
                continue
            if load >= self._size:
                number, load = number + 1, 0
            self._assigned[subject] = f"bundle-{number:05d}"
            self._has_new = True
            load += count
        return {subject: self._assigned[subject] for subject in n_recordings}

    def write(self) -> None:
        """Keep what was assigned, where something is new."""
        if self._has_new:
            sidecar.write_record(self._file, self._assigned, indent=2)

    def of_recording(self, recording_id: str, subject: str) -> str:
        """The bundle that a recording is in: itself at size 1, else its subject's."""
        return recording_id if self._size == 1 else self.of_subject[f"sub-{subject}"]

    def upstream(self, stage: Stage, upstream: Stage, bundle: str) -> list[str]:
        """The bundles of stage `upstream` that `bundle` of `stage` needs."""
        if upstream.level == "cohort":
            return [COHORT]
        if stage.level == "cohort":
            return self.by_level[upstream.level]
        if upstream.level == "subject" and stage.level == "recording":
            return self.subjects[bundle]
        return [bundle]
