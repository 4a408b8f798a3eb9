"""A trainer that is as small as it can be, and the losses of its log."""

from brainlm_model.training.stage import STAGE, Config
from brainlm_model.training.worker import make_trainer

SMALL = {"width": 16, "heads": 2, "hidden": 32, "depth": 1, "batch_size": 4, "threads": 1, "device": "cpu"}


def trainer(store, **keys):
    """Of the smallest network on a store; `keys`: of section train."""
    return make_trainer(store.path, Config(**{**SMALL, **keys}), STAGE.version)


def losses(log) -> list[float]:
    """Those that a log holds."""
    return [row["loss"] for row in log if row["loss"] != ""]
