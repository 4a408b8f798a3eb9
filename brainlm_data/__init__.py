"""brainlm_data: from raw BIDS to a store of parcel series. The public face; `brainlm_model` uses nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from brainlm_data.errors import BrainLMError, ConfigError, InputError, Refused, did_you_mean, in_words
from brainlm_data.stage import Artifact, Facts, Files, Need, Sentence, Stage, StageConfig

if TYPE_CHECKING:
    from brainlm_data.cli import add_run, dispatch
    from brainlm_data.cli import summary as stage_summary
    from brainlm_data.commandline import Parser
    from brainlm_data.config import read_config, section_from
    from brainlm_data.config import schema as config_schema
    from brainlm_data.dataset.card import Card
    from brainlm_data.dataset.look import (
        FIGURE_STYLE,
        GRID,
        INK,
        SPLIT_COLOURS,
        UNKNOWN,
        by_network,
        drawing,
        mark_networks,
        network_name,
    )
    from brainlm_data.dataset.patterns import Patterns, averaged, patterns_of
    from brainlm_data.dataset.scaler import Scaler, prepare
    from brainlm_data.dataset.series import ParcelSeries, recording_name
    from brainlm_data.dataset.splits import SPLITS
    from brainlm_data.dataset.store import Store, open_store
    from brainlm_data.defaults import defaults as config_text
    from brainlm_data.files.arrays import reads_arrays
    from brainlm_data.files.fetch import cache_folder
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
    from brainlm_data.reading.events import read_events
    from brainlm_data.reading.pictures import read_pictures, resized
    from brainlm_data.reading.resampling import resample_series, scale_series
    from brainlm_data.reading.sources import compare_store, read_series
    from brainlm_data.runner.call import call
    from brainlm_data.why.command import add_why

__all__ = [
    "BLANK", "FIGURE_STYLE", "GRID", "INK", "SPLITS", "SPLIT_COLOURS", "STAGES", "UNKNOWN", "Artifact", "BrainLMError",
    "Card", "ConfigError", "Facts", "Files", "InputError", "Need", "ParcelSeries", "Parser", "Patterns", "Progress",
    "Refused", "Scaler", "Sentence", "Stage", "StageConfig", "Store", "add_run", "add_why", "atomic", "averaged",
    "beside", "by_network", "cache_folder", "call", "check_seal", "check_sum", "compare_store", "config_schema",
    "config_text", "did_you_mean", "dispatch", "draw_as_text", "drawing", "end_with", "fresh_temporary", "in_legend",
    "in_words", "left", "mark_networks", "markdown_cell", "markdown_line", "network_name", "new_array", "one_at_a_time",
    "open_store", "parent_of", "patterns_of", "prepare", "read_config", "read_events", "read_object", "read_pictures",
    "read_series", "reads", "reads_arrays", "recording_name", "resample_series", "resized", "scale_series", "seal",
    "section_from", "stage_summary", "sum_folder", "write_sums",
]  # fmt: skip

_HEAVY = {  # imported only when they are asked for
    "add_run": ("cli", "add_run"),
    "add_why": ("why.command", "add_why"),
    "atomic": ("files.sidecar", "atomic"),
    "averaged": ("dataset.patterns", "averaged"),
    "beside": ("files.lock", "beside"),
    "BLANK": ("files.seal", "BLANK"),
    "by_network": ("dataset.look", "by_network"),
    "cache_folder": ("files.fetch", "cache_folder"),
    "call": ("runner.call", "call"),
    "Card": ("dataset.card", "Card"),
    "check_seal": ("files.seal", "check_seal"),
    "check_sum": ("files.sums", "check_sum"),
    "compare_store": ("reading.sources", "compare_store"),
    "config_schema": ("config", "schema"),
    "config_text": ("defaults", "defaults"),
    "dispatch": ("cli", "dispatch"),
    "draw_as_text": ("files.text", "draw_as_text"),
    "drawing": ("dataset.look", "drawing"),
    "end_with": ("files.processes", "end_with"),
    "FIGURE_STYLE": ("dataset.look", "FIGURE_STYLE"),
    "fresh_temporary": ("files.lock", "fresh_temporary"),
    "GRID": ("dataset.look", "GRID"),
    "in_legend": ("files.text", "in_legend"),
    "INK": ("dataset.look", "INK"),
    "left": ("files.progress", "left"),
    "mark_networks": ("dataset.look", "mark_networks"),
    "markdown_cell": ("files.text", "markdown_cell"),
    "markdown_line": ("files.text", "markdown_line"),
    "network_name": ("dataset.look", "network_name"),
    "new_array": ("files.space", "new_array"),
    "one_at_a_time": ("files.lock", "one_at_a_time"),
    "open_store": ("dataset.store", "open_store"),
    "ParcelSeries": ("dataset.series", "ParcelSeries"),
    "parent_of": ("files.processes", "parent_of"),
    "Parser": ("commandline", "Parser"),
    "Patterns": ("dataset.patterns", "Patterns"),
    "patterns_of": ("dataset.patterns", "patterns_of"),
    "prepare": ("dataset.scaler", "prepare"),
    "Progress": ("files.progress", "Progress"),
    "read_config": ("config", "read_config"),
    "read_events": ("reading.events", "read_events"),
    "read_object": ("files.json", "read_object"),
    "read_pictures": ("reading.pictures", "read_pictures"),
    "read_series": ("reading.sources", "read_series"),
    "reads": ("files.reads", "reads"),
    "reads_arrays": ("files.arrays", "reads_arrays"),
    "recording_name": ("dataset.series", "recording_name"),
    "resample_series": ("reading.resampling", "resample_series"),
    "resized": ("reading.pictures", "resized"),
    "scale_series": ("reading.resampling", "scale_series"),
    "Scaler": ("dataset.scaler", "Scaler"),
    "seal": ("files.seal", "seal"),
    "section_from": ("config", "section_from"),
    "SPLIT_COLOURS": ("dataset.look", "SPLIT_COLOURS"),
    "SPLITS": ("dataset.splits", "SPLITS"),
    "stage_summary": ("cli", "summary"),
    "STAGES": ("pipeline", "STAGES"),
    "Store": ("dataset.store", "Store"),
    "sum_folder": ("files.sums", "sum_folder"),
    "UNKNOWN": ("dataset.look", "UNKNOWN"),
    "write_sums": ("files.sums", "write_sums"),
}


def __getattr__(name: str) -> Any:
    """Import heavy parts only when they are asked for."""
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HEAVY[name]
    return getattr(import_module(f"brainlm_data.{module}"), attribute)
