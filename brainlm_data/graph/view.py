"""What the graph's parts read of a `Dag`: they are called by it, so they do not import it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from brainlm_data.bids.index import Index
from brainlm_data.config import General
from brainlm_data.graph.bundles import Bundles
from brainlm_data.stage import Level, Stage


class NodeView(Protocol):
    """A stage in the graph, as `plan` reads it."""

    def path(self, bundle: str) -> Path:
        """Manifest of a bundle."""

    @property
    def threads(self) -> int:
        """Threads of a job of it."""

    @property
    def signature(self) -> str:
        """What decides whether its outputs are still good."""


class DagView(Protocol):
    """A graph, as `listing`, `needs` and `plan` read it. See `dag.Dag` for what each is."""

    config: General
    outdir: Path
    stages: dict[str, Stage]
    bundles: Bundles
    sizes_mb: dict[tuple[Level, str], list[float]]

    @property
    def index(self) -> Index:
        """The recordings."""

    @property
    def source(self) -> Path:
        """Where the run starts from."""

    @property
    def details(self) -> Mapping[tuple[str, str], dict[str, Any]]:
        """(stage, bundle) -> unit -> what is known of it."""

    @property
    def detailed(self) -> set[str]:
        """Stages that read such details."""

    def __getitem__(self, name: str) -> NodeView:
        """A stage in the graph."""

    def section(self, stage: Stage) -> Any:
        """Its section of the configuration."""

    def listed(self, stage: Stage, bundle: str) -> str:
        """Digest of what its job reads of the listing."""

    def upstream_bundles(self, stage: Stage, bundle: str) -> dict[str, list[str]]:
        """Upstream stage -> bundles that this one reads."""

    def upstream_of(self, stage: Stage) -> list[Stage]:
        """Stages whose outputs it reads."""
