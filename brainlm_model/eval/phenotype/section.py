"""Section `phenotype` of config.yaml, and the methods that it may name."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from brainlm_data import StageConfig

NAMES = Literal[
    "cls_ridge", "cls_svm", "cls_knn", "mean_ridge", "mean_svm", "mean_knn", "parcels_ridge", "parcels_svm",
    "parcels_knn", "adapted_ridge", "attention_ridge", "readout", "readout_wide", "log_ridge", "correlations_ridge",
    "correlations_svm", "correlations_mlp", "tangent_ridge", "coskewness_ridge", "raw_svm", "raw_mlp", "lstm", "gcn",
    "braingb", "brain_transformer", "com_brain", "ptgb", "spdnet",
]  # fmt: skip
# networks of other papers: only where they are named
PUBLISHED = ("braingb", "brain_transformer", "com_brain", "ptgb", "spdnet")
ON_RECORDINGS = ("lstm", "gcn", *PUBLISHED, "finetuned")  # no features from which a confound could be regressed
REFERENCE = "correlations_ridge"
TANGENT = "tangent_ridge"
READOUT = {"regression": "readout", "classification": "readout_wide"}  # which readout is recommended
BEST = "ours_best"
GIVEN = "given"  # value of `leave_out`: the splits of the store


class Column(StageConfig):
    """A column of recordings.parquet; its name alone stands for the defaults."""

    name: str = Field(min_length=1, description="of the column")
    task: Literal["auto", "regression", "classification"] = Field(
        "auto", description="auto: text, and numbers with up to five values, are classified"
    )
    transform: Literal["auto", "z", "log", "minmax", "logminmax", "none"] = Field(
        "auto", description="of numbers, fitted in each fold; auto: log of age, z of others"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data


class Config(StageConfig):
    """Section `phenotype` of config.yaml."""

    columns: list[Column] = Field(
        [], description="names, or {name, task, transform}; empty: age and sex, if there are such columns"
    )
    subjects: Literal["all", "unseen"] = Field(
        "all", description="unseen: only those of splits test and external, whose series the model never saw"
    )
    folds: int = Field(5, ge=2, description="outer folds of subjects")
    leave_out: str | None = Field(
        "auto",
        description="a column, each of whose groups is left out in turn; auto: the site, where there are three or more;"
        " given: the splits of the store",
    )
    transfer: str | None = Field(
        "auto", description="a column whose most frequent value and its others predict each other; auto: TR, or scanner"
    )
    inner: int = Field(3, ge=2, description="inner folds, in which settings are chosen")
    methods: list[NAMES] = Field(
        [],
        description="methods to compare, by their names in docs/stages/phenotype.md; empty: all but the"
        " networks of other papers",
    )
    finetune: bool = Field(False, description="fine-tune the model as well: hours without a GPU")
    epochs: int = Field(15, ge=1, description="largest number of epochs of networks; they stop early")
    confounds: list[str] = Field([], description="columns that are regressed out of features in each fold")
    permutations: int = Field(200, ge=0, description="of labels within sites; ridge regressions are refitted; 0: none")
    bootstrap: int = Field(1000, ge=100, description="draws of subjects; more where many methods are compared")
    seed: int = Field(0, ge=0, description="seed of folds, networks, draws and permutations")
    threads: int = Field(2, ge=1, description="CPU threads")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="of the model; auto: a GPU if there is one; baselines run on the CPU"
    )

    @field_validator("columns")
    @classmethod
    def _once(cls, value: list[Column]) -> list[Column]:
        if len({c.name for c in value}) < len(value):
            raise ValueError("a column is named twice")
        return value
