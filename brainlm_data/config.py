"""config.yaml: one section per stage, composed from the stages' own models and validated before any job."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, create_model, field_validator

from brainlm_data import strategies
from brainlm_data.bids.index import Select
from brainlm_data.errors import ConfigError, alike, did_you_mean
from brainlm_data.files.yaml import parsed
from brainlm_data.spaces.known import BUNDLED, space_of_atlas
from brainlm_data.stage import Stage, StageConfig


class Preprocess(StageConfig):
    """Which engine takes the images from raw to normalized."""

    engine: Literal["native", "fmriprep"] = Field(
        "native",
        description="native: this package's stages; fmriprep: run fMRIPrep's container instead of anat, motion, coreg",
    )


class Jobs(StageConfig):
    """What jobs ask of a cluster; no key of it changes a result, and none makes a rerun."""

    workers: int = Field(
        1,
        ge=1,
        description="recordings that a job processes in parallel; it requests this many times the threads and memory",
    )
    memory: float = Field(
        1.0, gt=0, description="factor on the memory that every job requests; each retry doubles the request"
    )
    max_mb: int = Field(64000, ge=1, description="limit of the doubling, MB: the memory of one node")
    time: float = Field(1.0, gt=0, description="factor on the time limit of every job; each retry doubles it")
    disk: float = Field(
        1.0,
        ge=0,
        description="factor on the expected disk space of a run, which is refused where it does not fit; 0: no check",
    )
    max_hours: float = Field(24.0, gt=0, description="longest time limit to request, hours: what the partition allows")
    gpu_partition: str | None = Field(
        None, description="partition for stages that can use a GPU; each process of a stage requests one"
    )


class General(StageConfig):
    """Keys that belong to no stage."""

    bids_dir: Path = Field(Path("data/bids"), description="root of the raw BIDS dataset")
    outdir: Path = Field(Path("results"), description="folder that everything is written to")
    bundle_size: int = Field(1, ge=1, description="recordings per job; about 100 for a cohort")
    threads: int = Field(
        1, ge=1, description="threads per preprocessing job; a fixed number gives the same bytes everywhere"
    )

    @field_validator("outdir", "bids_dir", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if not str(value).strip():
            raise ValueError("must not be empty")
        return value

    @field_validator("outdir", "container")
    @classmethod
    def _no_pattern(cls, value: Any) -> Any:
        """Snakemake reads paths as patterns, with wildcards in braces."""
        if odd := {c for c in str(value) if c in "{}" or not c.isprintable()}:
            raise ValueError(f"must not have {' or '.join(map(repr, sorted(odd)))} in it: choose another path")
        return value

    container: str = Field(
        "containers/brainlm.sif", description="container image in which every rule runs with --sdm apptainer"
    )
    select: Select = Field(default_factory=Select, description="which recordings to process")
    preprocess: Preprocess = Field(default_factory=Preprocess, description="the engine")
    jobs: Jobs = Field(default_factory=Jobs, description="memory, time and GPUs on a cluster (docs/hpc.md)")


def model_of(stages: Sequence[Stage]) -> type[General]:
    """The model of the whole config.yaml: the general keys and one section per stage."""
    sections: dict[str, Any] = {
        stage.name: (stage.Config, Field(default_factory=stage.Config, description=stage.summary)) for stage in stages
    }
    return create_model("Config", __base__=General, **sections)


def read_config(arguments: argparse.Namespace) -> dict[str, Any]:
    """A configuration from the command line: `--configfile`, then `--bids-dir`, `--outdir`, then `--set key.sub=value`.

    Raises
    ------
    ConfigError: the file cannot be read, or `--set` has no value.
    """
    raw = read_file(arguments.configfile) if arguments.configfile else {}
    for key in ("bids_dir", "outdir"):
        if getattr(arguments, key):
            raw[key] = str(getattr(arguments, key))
    for assignment in arguments.set:
        assign(raw, assignment)
    return raw


def read_file(path: Path) -> dict[str, Any]:
    """The content of a configuration file.

    Raises
    ------
    ConfigError: it cannot be read, or is no mapping of keys to values.
    """
    try:
        raw = parsed(path.read_text(encoding="utf-8"), str(path)) or {}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "give a readable YAML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: no UTF-8 text", "give a readable YAML file") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: no mapping of keys to values", "see config.yaml")
    return raw


def assign(raw: dict[str, Any], assignment: str) -> None:
    """Take `section.key=value`, as `--set` has it, into a configuration.

    Raises
    ------
    ConfigError: there is no value, it is no YAML, or what should be a section is none.
    """
    path, equals, value = assignment.partition("=")
    if not equals:
        raise ConfigError(
            f"--set {assignment}: there is no = in it",
            "write each as key.sub=value, without spaces around =: --set filter.high_hz=0.02 train.steps=500",
        )
    *parents, last = path.split(".")
    section = raw
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {assignment}: {parent} is no section", "write key.sub=value, of a section")
    section[last] = parsed(value, f"--set {path}")


def merge(raw: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Take the keys of another configuration into `raw`; of a section, only those that are named."""
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(raw.get(key), dict):
            merge(raw[key], value)
        else:
            raw[key] = deepcopy(value)


def split_foreign(raw: Mapping[str, Any], stages: Sequence[Stage]) -> tuple[dict[str, Any], list[str]]:
    """A configuration without the sections of other programs, and the names of those.

    A whole config.yaml has sections of stages that a program with only some of the stages does not know. Foreign is a
    section whose name is not nearly one of this program's: `filtre` is a mistake, which `validate` then reports.
    """
    known = list(model_of(stages).model_fields)
    foreign: list[str] = []
    for key, value in raw.items():
        if isinstance(value, Mapping) and not alike(str(key), known):
            foreign.append(key)
    return {key: value for key, value in raw.items() if key not in foreign}, foreign


def parse(raw: Mapping[str, Any], stages: Sequence[Stage]) -> General:
    """A whole configuration, each section for itself.

    Raises
    ------
    ConfigError: names the path of the first bad key, what is wrong and the allowed values.
    """
    model = model_of(stages)
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError(*_explain(error, model)) from error


def validate(raw: Mapping[str, Any], stages: Sequence[Stage]) -> General:
    """Validate a whole configuration: each section, and what must agree between sections.

    Raises
    ------
    ConfigError: names the path of the first bad key, what is wrong and the allowed values.
    """
    config = _with_template(parse(raw, stages))
    _check_censoring(config)
    _check_atlas(config)
    _check_output_space(config)
    _check_outdir(config)
    return config


def _check_outdir(config: General) -> None:
    """The dataset is never written to."""
    given: Any = getattr(config, "input", None)
    kind = "bids" if given is None else given.kind
    source = config.bids_dir if kind == "bids" else given.path
    if source is not None and Path(source).absolute() == config.outdir.absolute():
        raise ConfigError(
            f"config: outdir {config.outdir} is the dataset itself", "give another folder as OUT (outdir)"
        )


def _with_template(config: Any) -> Any:
    """With `template.name`: where it is null, the space of the atlas."""
    if not hasattr(config, "template") or not hasattr(config, "atlas") or config.template.name is not None:
        return config
    atlas = config.atlas
    name = space_of_atlas(atlas.name, atlas.path, atlas.space) or BUNDLED
    model = type(config.template)
    try:
        template = model.model_validate({**dict(config.template), "name": name})
    except ValidationError as error:
        raise ConfigError(*_explain(error, model, "template")) from error
    return config.model_copy(update={"template": template})


def _check_atlas(config: Any) -> None:
    """An atlas in another space than the template would be found when the template is made."""
    if not hasattr(config, "template") or not hasattr(config, "atlas") or config.input.kind != "bids":
        return
    atlas, template = config.atlas, config.template.name
    space = space_of_atlas(atlas.name, atlas.path, atlas.space)
    if space not in (None, template) and not atlas.allow_space_mismatch:
        raise ConfigError(
            f"config: atlas {atlas.name} is in {space}, template.name is {template}",
            f"leave template.name out (null), set template.name: {space}, or atlas.allow_space_mismatch: true"
            " (differences of some millimetres)",
        )


def _check_censoring(config: Any) -> None:
    """A strategy that says from which FD on volumes are scrubbed does not do it: stage filter does."""
    if not hasattr(config, "denoise") or not hasattr(config, "filter"):
        return
    limit = config.filter.censor_fd_mm
    for strategy in strategies.resolve(config.denoise.strategy):
        if strategy.lacks_censoring(limit):
            wanted = strategy.censor_fd_mm
            raise ConfigError(
                f"config: denoise.strategy: {strategy.name} needs filter.censor_fd_mm of {wanted:g} or less, it is"
                f" {'null' if limit is None else format(limit, 'g')}",
                f"set filter.censor_fd_mm: {wanted:g} (it censors; the strategy only asks for it), or leave"
                f" {strategy.name} out",
            )


def _check_output_space(config: Any) -> None:
    """What fMRIPrep is asked for must be the template's space, or every recording fails after hours."""
    if config.preprocess.engine != "fmriprep" or not hasattr(config, "fmriprep") or not hasattr(config, "template"):
        return
    space, name = config.fmriprep.output_space, config.template.name
    if space.split(":")[0] != name:
        raise ConfigError(
            f"config: fmriprep.output_space is {space}, template.name is {name}",
            f"set template.name: {space.split(':')[0]} and an atlas in that space (atlas.name: A424 is in"
            " MNI152NLin6Asym), or another fmriprep.output_space",
        )


def section_from(raw: Mapping[str, Any], stage: Stage) -> StageConfig:
    """One stage's section, validated on its own."""
    try:
        return stage.Config.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError(*_explain(error, stage.Config, stage.name)) from error


def _explain(error: ValidationError, model: type[BaseModel], root: str = "") -> tuple[str, str]:
    """(message, remedy) of the first of pydantic's errors, in the words of someone who edits YAML."""
    problems = error.errors()
    first = problems[0]
    where = ".".join([*([root] if root else []), *(str(p) for p in first["loc"])])
    if first["type"] == "extra_forbidden":
        owner = _owner(model, first["loc"])
        message = f"config: unknown key {where}"
        meant = did_you_mean(str(first["loc"][-1]), list(owner.model_fields))
        remedy = f"{meant} allowed here: {', '.join(sorted(owner.model_fields))}".strip()
    elif first["type"] == "model_type":  # one value for a whole section
        section = _owner(model, (*first["loc"], ""))
        message = f"config: {where} is a section of keys (got {first['input']!r})"
        remedy = f"write {where}.{next(iter(section.model_fields))} or another of: {', '.join(section.model_fields)}"
    elif first["type"] == "literal_error":
        words = first["ctx"]["expected"].replace(" or ", ", ")  # 'bids', 'fmriprep', 'hcp'
        message = f"config: {where}: {first['input']!r} is none of {words}"
        meant = did_you_mean(str(first["input"]), re.findall(r"[\w-]+", words))
        remedy = f"{meant} {_allowed(model, first['loc'])}".strip()
    elif isinstance(first["input"], dict):  # keys that do not go together: a section says the remedy after an arrow
        problem, _, remedy = first["msg"].removeprefix("Value error, ").partition(" -> ")
        message = f"config: {where}: {problem}"
        remedy = remedy or f"section {where} of config.yaml explains both"
    else:
        message = f"config: {where}: {first['msg'].removeprefix('Value error, ')} (got {first['input']!r})"
        remedy = _allowed(model, first["loc"])
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return message + more, remedy


def _owner(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel]:
    for key in loc[:-1]:
        info = model.model_fields.get(str(key))
        if info is None or not (isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)):
            break
        model = info.annotation
    return model


def _allowed(model: type[BaseModel], loc: Sequence[int | str]) -> str:
    """What the field is for and what it may be, from its own declaration."""
    field = _owner(model, loc).model_fields.get(str(loc[-1])) if loc else None
    if field is None:
        return "see the comments in config.yaml"
    return f"{loc[-1]}: {field.description or ''}; default {field.get_default(call_default_factory=True)!r}"


def schema(stages: Sequence[Stage]) -> dict[str, Any]:
    """JSON schema of config.yaml, for editors: `brainlm-model schema` prints it."""
    return model_of(stages).model_json_schema()
