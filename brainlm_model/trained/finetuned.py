"""A fine-tuned model on disk and in use: what `brainlm_model.load` gives for a folder that `finetune` wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainlm_data import BrainLMError, InputError, check_sum
from brainlm_model.trained.checkpoint import TrainedModel, config_json, save_weights
from brainlm_model.trained.embedding import SourceRecording, collected, recordings_of, windows_of
from brainlm_model.trained.transform import Transform

if TYPE_CHECKING:
    from brainlm_model.trained.head import PredictionHead

HEAD_FILE = "head.safetensors"


@dataclass(frozen=True, eq=False, repr=False)
class FineTuned(TrainedModel):
    """A `TrainedModel` that predicts: a label in its own units, a class, or the next steps.

    Attributes
    ----------
    head: after the encoder; None where the next steps are predicted.
    finetuning: section `finetune` of config.json: settings, transform, classes.
    """

    head: PredictionHead | None = None
    finetuning: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        settings = self.finetuning["settings"]
        learnt = settings["column"] or f"the next {settings['future']} steps"
        return f"{super().__repr__()}, predicts {learnt} ({settings['task']})"

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        (folder / "config.json").write_text(
            config_json(self.network, self.training, finetune=self.finetuning), encoding="utf-8"
        )
        if self.head is not None:
            save_weights(self.head, folder / HEAD_FILE, {"format": "pt"})

    def predict(
        self,
        source: Any,
        *,
        probabilities: bool = False,
        split: str | None = None,
        atlas: str | Path | None = None,
        tr: float | None = None,
    ) -> Any:
        """Predict for a recording, several, or all of a store.

        Parameters
        ----------
        source, split, atlas, tr: as of `embed`. For the future: the recording up to now, at least a window less the
            steps to be predicted.
        probabilities: of classes: a dictionary class -> probability instead of the likeliest class.

        Returns
        -------
        A number in the label's units; the name of a class; or the next steps (future, parcel) in the recording's own
        units, NaN where a parcel is not known. Of several a list, of a store a dictionary by id.

        Raises
        ------
        InputError: as of `embed`.
        """
        chosen = recordings_of(source, self.card.data, split, atlas, tr)
        return collected(source, ((recording, self._predicted(recording, probabilities)) for recording in chosen))

    def _predicted(self, recording: SourceRecording, probabilities: bool) -> Any:
        """What is predicted, or why nothing can be."""
        try:
            series = recording.read().values
            return self._future(series) if self.head is None else self._label(series, probabilities)
        except BrainLMError as error:
            return error

    def _label(self, series: Any, probabilities: bool) -> Any:
        from brainlm_model.trained.predict import of_recording

        assert self.head is not None
        classes: list[str] = self.finetuning["classes"]
        windows = windows_of(series, self.scaler, self.config)
        features = self.finetuning["settings"]["features"]
        outputs = of_recording(self.network, self.head, windows, features, bool(classes))
        if not classes:
            return float(Transform(**self.finetuning["transform"]).invert(outputs[0]))
        if probabilities:
            return {name: float(value) for name, value in zip(classes, outputs, strict=True)}
        return classes[int(outputs.argmax())]

    def _future(self, series: Any) -> np.ndarray:
        """The next steps: the last ones are taken, prepared as a recording, and hidden steps appended."""
        import torch

        from brainlm_data import prepare
        from brainlm_model.trained.predict import forecast

        future = int(self.finetuning["settings"]["future"])
        values = np.asarray(series, dtype=np.float32)
        history = self.config.window - future
        if values.ndim != 2 or values.shape[1] != self.config.parcels or len(values) < history:
            raise InputError(
                f"predict: a series of shape {values.shape}",
                f"at least {history} steps of {self.config.parcels} parcels",
            )
        if np.isinf(values).any():
            raise InputError(f"predict: {np.isinf(values).sum()} infinite values", "NaN stands for what is not known")
        scaled = np.asarray(prepare(values, self.scaler), dtype=np.float32)[-history:]
        window = np.concatenate([scaled, np.full((future, scaled.shape[1]), np.nan, np.float32)])
        ahead = forecast(self.network, torch.from_numpy(window.T[None].copy()), future)[0].T
        known = np.isfinite(values)
        level = np.where(known, values, 0).sum(0, dtype=np.float64) / np.maximum(known.sum(0), 1)
        ahead = ahead * self.scaler.iqr + self.scaler.median + level
        return np.where(known.any(0), ahead, np.nan).astype(np.float32)


def load_finetuned(folder: Path, base: TrainedModel, finetuning: dict[str, Any]) -> FineTuned:
    """The model of a folder with its head.

    Raises
    ------
    InputError: a head that does not fit config.json.
    """
    from brainlm_model.models.weights import load_into
    from brainlm_model.trained.head import PredictionHead

    head = None
    if finetuning["settings"]["task"] != "future":
        head = PredictionHead(finetuning["settings"]["head"], base.config.width, max(len(finetuning["classes"]), 1))
        remedy = "take the whole folder that finetune wrote, or fine-tune again"
        check_sum(folder / HEAD_FILE, remedy)
        load_into(head, folder / HEAD_FILE, remedy)
        head.eval().to(base.network.cls.device)
    return FineTuned(base.network, base.config, base.scaler, base.training, base.card, head=head, finetuning=finetuning)
