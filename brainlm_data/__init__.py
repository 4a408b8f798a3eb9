"""brainlm_data: from raw BIDS to a store of parcel series. The public face; `brainlm_model` uses nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from brainlm_data.errors import BrainLMError, ConfigError, InputError, Refused, in_words
from brainlm_data.stage import Artifact, Facts, Files, Need, Sentence, Stage, StageConfig

if TYPE_CHECKING:
    from brainlm_data.cli import add_run, dispatch
    from brainlm_data.cli import summary as stage_summary
    from brainlm_data.commandline import Parser
    from brainlm_data.config import read_config, section_from
    from brainlm_data.config import schema as config_schema
    from brainlm_data.dataset.card import Card
    from brainlm_data.dataset.scaler import Scaler, prepare
    from brainlm_data.dataset.splits import SPLITS
    from brainlm_data.dataset.store import open_store
    from brainlm_data.defaults import defaults as config_text
    from brainlm_data.files.json import read_object
    from brainlm_data.files.lock import beside, fresh_temporary, one_at_a_time
    from brainlm_data.files.processes import end_with, parent_of
    from brainlm_data.files.progress import Progress, left
    from brainlm_data.files.reads import reads
    from brainlm_data.files.seal import BLANK, check_seal, seal
    from brainlm_data.files.sidecar import atomic
    from brainlm_data.files.space import new_array
    from brainlm_data.files.sums import check_sum, sum_folder, write_sums
    from brainlm_data.files.text import draw_as_text, in_legend, markdown_cell, markdown_line
    from brainlm_data.pipeline import STAGES
    from brainlm_data.reading.series import ParcelSeries
    from brainlm_data.reading.sources import compare_store, read_series
    from brainlm_data.runner.call import call
    from brainlm_data.why.command import add_why

__all__ = [
    "BLANK", "SPLITS", "STAGES", "Artifact", "BrainLMError", "Card", "ConfigError", "Facts", "Files", "InputError",
    "Need", "ParcelSeries", "Parser", "Progress", "Refused", "Scaler", "Sentence", "Stage", "StageConfig", "add_run",
    "add_why", "atomic", "beside", "call", "check_seal", "check_sum", "compare_store", "config_schema", "config_text",
    "dispatch", "draw_as_text", "end_with", "fresh_temporary", "in_legend", "in_words", "left", "markdown_cell",
    "markdown_line", "new_array", "one_at_a_time", "open_store", "parent_of", "prepare", "read_config", "read_object",
    "read_series", "reads", "seal", "section_from", "stage_summary", "sum_folder", "write_sums",
]  # fmt: skip

_HEAVY = {  # imported only when they are asked for
    "BLANK": ("files.seal", "BLANK"),
    "Card": ("dataset.card", "Card"),
    "ParcelSeries": ("reading.series", "ParcelSeries"),
    "Parser": ("commandline", "Parser"),
    "Progress": ("files.progress", "Progress"),
    "SPLITS": ("dataset.splits", "SPLITS"),
    "STAGES": ("pipeline", "STAGES"),
    "Scaler": ("dataset.scaler", "Scaler"),
    "add_run": ("cli", "add_run"),
    "add_why": ("why.command", "add_why"),
    "atomic": ("files.sidecar", "atomic"),
    "beside": ("files.lock", "beside"),
    "one_at_a_time": ("files.lock", "one_at_a_time"),
    "call": ("runner.call", "call"),
    "check_seal": ("files.seal", "check_seal"),
    "check_sum": ("files.sums", "check_sum"),
    "compare_store": ("reading.sources", "compare_store"),
    "draw_as_text": ("files.text", "draw_as_text"),
    "end_with": ("files.processes", "end_with"),
    "parent_of": ("files.processes", "parent_of"),
    "in_legend": ("files.text", "in_legend"),
    "left": ("files.progress", "left"),
    "markdown_cell": ("files.text", "markdown_cell"),
    "markdown_line": ("files.text", "markdown_line"),
    "config_schema": ("config", "schema"),
    "config_text": ("defaults", "defaults"),
    "dispatch": ("cli", "dispatch"),
    "fresh_temporary": ("files.lock", "fresh_temporary"),
    "new_array": ("files.space", "new_array"),
    "open_store": ("dataset.store", "open_store"),
    "prepare": ("dataset.scaler", "prepare"),
    "read_config": ("config", "read_config"),
    "read_object": ("files.json", "read_object"),
    "read_series": ("reading.sources", "read_series"),
    "reads": ("files.reads", "reads"),
    "seal": ("files.seal", "seal"),
    "section_from": ("config", "section_from"),
    "stage_summary": ("cli", "summary"),
    "sum_folder": ("files.sums", "sum_folder"),
    "write_sums": ("files.sums", "write_sums"),
}


def __getattr__(name: str) -> Any:
    """Import heavy parts only when they are asked for."""
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HEAVY[name]
    return getattr(import_module(f"brainlm_data.{module}"), attribute)
