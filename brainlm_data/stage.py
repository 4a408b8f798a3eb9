"""The stage contract: what every step of the pipeline is, and nothing else.

A stage is one step with one module, one config section, one rule, one test file and one docs page. It is a plain
function from files to files for ONE recording (or subject, or the whole cohort); Snakemake, the CLI, the docs and the
methods text all read what they need from its `Stage` object.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    from brainlm_data.files.fetch import Wanted

Level = Literal["cohort", "subject", "recording"]
Route = Literal["native", "fmriprep", "import"]  # to the series: an engine of the images, or what exists already
Facts = dict[str, Any]
# a path whose content reruns nothing by itself: it is written to, or what is read of it is watched in another way
Unwatched = Annotated[Path | None, "unwatched"]


class StageConfig(BaseModel):
    """Base of every section of config.yaml: frozen, and an unknown key is an error.

    Strings that come from `--config 'filter={low_hz: null}'` are coerced: "null", "none" and "~" mean null, but where
    the word is one of a key's values (`transform: none`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _home_folders(self) -> Self:
        """`~` of a path means the home folder."""
        for name, value in self:
            if isinstance(value, Path) and value.parts[:1] and value.parts[0].startswith("~"):
                try:
                    self.__dict__[name] = value.expanduser()
                except RuntimeError as error:
                    raise ValueError(f"{name}: {value.parts[0]} is nobody's home folder") from error
        return self

    @model_validator(mode="before")
    @classmethod
    def _null_words(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        section = {}
        for key, value in data.items():
            known = cls.model_fields.get(key)
            is_null = isinstance(value, str) and value.lower() in {"null", "none", "~"}
            if is_null and known is not None and value in get_args(known.annotation):
                is_null = False
            section[key] = None if is_null else value
        return section


class Sentence(str):
    """A sentence of the methods text that knows the values in it, so that those of many recordings become ranges.

    `Sentence("{dropped} volumes were dropped", dropped=2)` is "2 volumes were dropped".

    Attributes
    ----------
    template: for `str.format`. fields: numbers and texts by name; one that the template does not show is kept as data.
    """

    template: str
    fields: dict[str, Any]

    def __new__(cls, template: str, **fields: Any) -> Self:
        """The text, with its template and fields."""
        self = super().__new__(cls, template.format(**fields))
        self.template, self.fields = template, fields
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (self.template,), self.fields

    @classmethod
    def of(cls, content: str | Mapping[str, Any]) -> Self:
        """From what `content` gave; plain text (of an earlier release, too) is a sentence without values."""
        if isinstance(content, cls):
            return content
        if isinstance(content, str):
            return cls("{text}", text=content)
        return cls(content["template"], **content["fields"])

    @classmethod
    def joined(cls, sentences: Iterable[Sentence]) -> Self:
        """One after another. Raises ValueError where two of them give one name to different values."""
        templates: list[str] = []
        fields: dict[str, Any] = {}
        for number, sentence in enumerate(sentences):
            text = sentence.template
            for name, value in sentence.fields.items():
                key = f"text{number}" if name == "text" else name
                if fields.setdefault(key, value) != value:
                    raise ValueError(f"{name} is {fields[key]!r} in one sentence, {value!r} in another")
                text = text.replace(f"{{{name}", f"{{{key}")
            templates.append(text)
        return cls(" ".join(templates), **fields)

    def content(self) -> dict[str, Any]:
        """As JSON: template and fields."""
        return {"template": self.template, "fields": self.fields}


class Files(Mapping[str, Path]):
    """The files that a stage reads or writes, by artifact name; `files["bold"]`, or None from `files.get("t1w")`.

    `inputs.facts(name)` is the JSON sidecar of that file: facts that another stage measured (TR, effective band)
    travel there, never through that stage's config section. `meta` describes the recording (see `index.Recording`).
    """

    def __init__(self, paths: Mapping[str, Path], meta: Mapping[str, Any] | None = None) -> None:
        self._paths = dict(paths)
        self.meta: dict[str, Any] = dict(meta or {})

    def __getitem__(self, name: str) -> Path:
        return self._paths[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def facts(self, name: str) -> Facts:
        """The sidecar of artifact `name`; empty where that artifact has none. Raises InputError where it is damaged."""
        from brainlm_data.files.sidecar import read_facts

        return read_facts(self._paths[name])


@dataclass(frozen=True)
class Artifact:
    """A kind of file: its level, its path pattern below outdir, what it holds, in words, and its BIDS metadata."""

    level: Level
    pattern: str
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)  # what is true of every such file

    @property
    def names(self) -> frozenset[str]:
        """The placeholders besides `prefix`, for example {"space", "seg"}."""
        fields = {name for _, name, _, _ in string.Formatter().parse(self.pattern) if name}
        return frozenset(fields - {"prefix"})

    @property
    def has_sidecar(self) -> bool:
        """True of every derivative."""
        return self.pattern.startswith("derivatives/")

    def path(self, outdir: Path, prefix: str = "", names: Mapping[str, str] | None = None) -> Path:
        """Where it lies below `outdir`. Raises KeyError where a placeholder is not given."""
        return outdir / self.pattern.format(prefix=prefix, **dict(names or {}))


@dataclass(frozen=True)
class Need:
    """What one job needs of a machine; `graph/needs.py` makes a request to a cluster of it.

    Attributes
    ----------
    mb, mb_per_mb: memory of a stage that has nothing to do (imports), and more for each MB of its largest raw image.
    seconds, seconds_per_mb: time of one unit, and more for each MB of its raw image; units come one after the other.
        At cohort level a unit is a recording.
    start: seconds that do not depend on the units.
    disk_mb, disk_mb_per_mb: what one unit leaves on the disk, and more for each MB of its raw image, at most.
    """

    mb: float
    mb_per_mb: float = 0.0
    seconds: float = 0.0
    seconds_per_mb: float = 0.0
    start: float = 0.0
    disk_mb: float = 0.0
    disk_mb_per_mb: float = 0.0


UNMEASURED = Need(4000)  # of a stage that says nothing of its own


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    Attributes
    ----------
    name: the stage, its config section, its rule, `stages/<name>.py`, its test and its docs page.
    version: goes up whenever the output changes for the same input and config; a golden test fails if it did not.
    level: what one call processes: one recording, one subject or the whole cohort.
    summary: one sentence, shown by `brainlm-data --help`.
    Config: this stage's section of config.yaml, and nothing else.
    inputs, outputs: names of artifacts (`paths.ARTIFACTS`). An input that not every recording has (a T1w) is absent
        from `Files`; a cohort-level stage finds recording-level inputs in `meta["recordings"]`.
    run: `run(inputs, outputs, config) -> facts`. Writes every output; returns facts for the sidecars: keys common to
        all outputs, and under an artifact's name what is true of that artifact alone (units, column descriptions).
        What is true of an input (TR, space, atlas, warnings: `runner/call.py`) is true of the outputs without a word.
        Raises `Refused` for a recording that can never be processed.
    describe: its sentence of the methods text, from the EFFECTIVE parameters in a sidecar, with citations; a `Sentence`
        where it holds values that differ between recordings.
    need: memory and time of its job, measured by `python -m benchmarks.needs` or estimated.
    artifacts: the kinds of those outputs that are not in the table of this package, `paths.ARTIFACTS`. Derivatives are.
    fills: the placeholder in paths that the key `name` of its section fills: "space", "seg", "model".
    """

    name: str
    version: int
    level: Level
    summary: str
    Config: type[StageConfig]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    run: Callable[[Files, Files, Any], Facts]
    describe: Callable[[Facts], str]
    optional: tuple[str, ...] = field(default=())  # inputs that a recording may lack, outputs that it may not write
    goes_without: tuple[str, ...] = ()  # stages before it that whoever runs stages by hand may leave out
    # (section, ids of all units) -> unit id -> meta: what a file that the section names says of single units. It joins
    # their `meta` and decides, unit by unit, what reruns; keys with a leading underscore are for messages only
    by_unit: Callable[[Any, Sequence[str]], dict[str, dict[str, Any]]] | None = None
    # section -> key -> file, of files that it names otherwise than by a value of type Path (`graph.watched`)
    watches: Callable[[Any], Mapping[str, Path]] | None = None
    # section -> published files that the stage needs, which the plan fetches before any job
    ahead: Callable[[Any], Sequence[Wanted]] | None = None
    on_demand: bool = False  # made only where a stage that was asked for reads it; `preprocess` leaves it out
    grows: tuple[str, ...] = ()  # outputs of a cohort stage that a rerun takes parts from: `meta["before"]`
    told: tuple[
        str, ...
    ] = ()  # facts (fields of `index.Recording`; of a cohort stage, of `Index`) that it states: in `meta`
    routes: tuple[Route, ...] = get_args(Route)  # on which of them this stage is
    need: Need = UNMEASURED
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    fills: str | None = None

    def __post_init__(self) -> None:
        for name, artifact in self.artifacts.items():
            if artifact.has_sidecar:
                raise ValueError(f"stage {self.name}: {name} is a derivative: list it in brainlm_data.paths.ARTIFACTS")

    def signature(
        self, config: StageConfig, names: Mapping[str, str] | None = None, watched: Mapping[str, str] | None = None
    ) -> str:
        """What decides whether outputs are still good, for the same inputs.

        The version, the section's values, the names in its paths, and digests of the files that the section names.
        Canonical JSON (sorted keys), so that comments and key order in config.yaml change nothing.
        """
        content = {
            "version": self.version,
            "config": config.model_dump(mode="json"),
            "names": dict(names or {}),
            "watched": dict(watched or {}),
        }
        return json.dumps(content, sort_keys=True)
