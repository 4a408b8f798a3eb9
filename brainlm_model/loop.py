"""The training loop: it can be killed at any moment and goes on where it was.

Whatever is random (order, windows, masks, first weights) follows from the seed and the step alone, so the state of a
run is its weights, its optimiser and its log.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from brainlm_data import BrainLMError
from brainlm_model.interrupt import Interrupt
from brainlm_model.masking import generator, make_mask
from brainlm_model.model import BrainLM, masked_mse
from brainlm_model.prior import population_covariance

if TYPE_CHECKING:
    from brainlm_model.data import WindowDataset
    from brainlm_model.train import Config

SAVE_SECONDS = 30  # between step checkpoints
VALIDATION_WINDOWS = 32
FIRST_WEIGHTS, ORDER, MASKS, VALIDATION = range(4)  # streams of random numbers


class Trainer:
    """The loop and its state.

    Parameters
    ----------
    config: the section `train`.
    train, validation: windows, NaN where nothing is known; validation may be absent.
    version: of the stage; a step checkpoint of another one is not used.
    """

    def __init__(
        self, config: Config, train: WindowDataset, validation: WindowDataset | None = None, version: int = 0
    ) -> None:
        self.config, self.train, self.validation, self.version = config, train, validation, version
        cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
        self.device = torch.device("cuda" if cuda else "cpu")
        self.settle_every = 1 if self.device.type == "cpu" else 10
        self.batch = min(config.batch_size, len(train))
        self.per_epoch = math.ceil(len(train) / self.batch)
        torch.manual_seed(int(_seed(config, FIRST_WEIGHTS).initial_seed()))
        self.network: BrainLM = BrainLM(config.architecture(train.parcels), train.coordinates).to(self.device)
        if self.network.prior is not None:
            moments = population_covariance((train.series(i) for i in range(len(train))), config.ridge)
            self.network.prior.covariance.copy_(torch.from_numpy(moments))
        self.optimizer = _optimizer(self.network, config)

    def fit(self, workdir: Path | None) -> list[dict[str, Any]]:
        """Train to the last step, going on from a step checkpoint of the same run. Returns the rows of the log.

        Raises
        ------
        BrainLMError: stopped by SIGTERM or SIGUSR1, after writing a step checkpoint; or the loss is not finite.
        """
        with Interrupt() as asked:
            return self._fit(workdir, asked)

    def _fit(self, workdir: Path | None, asked: Interrupt) -> list[dict[str, Any]]:
        log = self._resume(workdir) if workdir else []
        first = len(log)
        started = saved = time.monotonic()
        for step in range(first, self.config.steps):
            begun = time.monotonic()
            score = self.validate() if step % self.config.eval_every == 0 else None
            row: dict[str, Any] = {"step": step, "epoch": step // self.per_epoch, **self._step(step)}
            row |= {
                "seconds": round(time.monotonic() - begun, 3),
                "validation_r2": "" if score is None else round(score, 5),
            }
            log.append(row)
            due = time.monotonic() - saved > SAVE_SECONDS or bool(asked.by)
            if due or (step + 1) % self.settle_every == 0 or step + 1 == self.config.steps:
                self._settle(log, workdir)
            if workdir and due:
                self._save(workdir, log)
                saved = time.monotonic()
            if asked.by:
                kept = "its checkpoint is written" if workdir else "nothing is kept, there is no work folder"
                raise BrainLMError(
                    f"stopped by {asked.by} after {step + 1} of {self.config.steps} steps; {kept}",
                    "run the same command again: it goes on from there",
                )
            self._tell(row, (time.monotonic() - started) / (step + 1 - first))
        if log[-1]["step"] < self.config.steps:  # the trained model's own row
            score = self.validate()
            log.append({"step": self.config.steps, "epoch": self.config.steps // self.per_epoch, "loss": "", "lr": "",
                        "seconds": "", "validation_r2": "" if score is None else round(score, 5)})  # fmt: skip
        return log

    def _step(self, step: int) -> dict[str, Any]:
        """One optimiser step."""
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.config)
        x_BPT, mask_BPN = (part.to(self.device) for part in self._batch(step))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = masked_mse(self.network(x_BPT, mask_BPN), x_BPT, mask_BPN)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.optimizer.step()
        return {"loss": loss.detach(), "lr": round(learning_rate(step, self.config), 8)}

    def _settle(self, log: list[dict[str, Any]], workdir: Path | None) -> None:
        """Losses of the last rows as numbers. Not after every step on a GPU, which would wait for each."""
        for row in log[-self.settle_every :]:
            if isinstance(row["loss"], Tensor):
                value = float(row["loss"])
                if not math.isfinite(value):
                    raise self._not_finite(row["step"], value, workdir)
                row["loss"] = round(value, 6)

    def _not_finite(self, step: int, loss: float, workdir: Path | None) -> BrainLMError:
        """The error for a loss that is no number; the step's batch is written into the work folder."""
        kept = ""
        if workdir:
            workdir.mkdir(parents=True, exist_ok=True)
            x_BPT, mask_BPN = self._batch(step)
            save_file({"x": x_BPT.contiguous(), "mask": mask_BPN}, workdir / "not_finite.safetensors")
            kept = f"; its batch is in {workdir / 'not_finite.safetensors'}"
        names = ", ".join(self.train.ids[i] for i in self._chosen(step))
        return BrainLMError(
            f"the loss is {loss} at step {step} ({names}){kept}",
            "lower train.lr, or look at these recordings; the last step checkpoint is from before",
        )

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Windows and mask of a step."""
        x_BPT = self._windows(step)
        random = _seed(self.config, MASKS, step)
        ratio = self.config.ratio_at(step, float(torch.rand((), generator=random)))
        model = self.network.config
        place = self.train.coordinates
        return x_BPT, make_mask(self.config.masking, len(x_BPT), model.parcels, model.patches, ratio, random, place)

    def _windows(self, step: int) -> Tensor:
        """The windows of a step: every recording once an epoch."""
        self.train.set_epoch(step // self.per_epoch)
        return self.train.windows(self._chosen(step))

    def _chosen(self, step: int) -> list[int]:
        """The recordings of a step, in an order of its epoch."""
        epoch, place = divmod(step, self.per_epoch)
        order = torch.randperm(len(self.train), generator=_seed(self.config, ORDER, epoch)).tolist()
        return order[place * self.batch : (place + 1) * self.batch]

    def validate(self) -> float | None:
        """Flat masked R2 on fixed windows and masks of validation subjects, over all mask ratios; None without any."""
        if self.validation is None:
            return None
        self.network.eval()
        model = self.network.config
        error = total = 0.0
        for index in range(min(len(self.validation), VALIDATION_WINDOWS)):
            x_BPT = self.validation[index][None]
            for number, ratio in enumerate(self.config.ratios):
                random = _seed(self.config, VALIDATION, index, number)
                place = self.validation.coordinates
                mask = make_mask(self.config.masking, 1, model.parcels, model.patches, ratio, random, place)
                with torch.inference_mode():
                    found = self.network(x_BPT.to(self.device), mask.to(self.device)).cpu()
                scored = mask.repeat_interleave(model.patch, 2) & ~x_BPT.isnan()
                error += float((found[scored] - x_BPT[scored]).double().square().sum())
                total += float(x_BPT[scored].double().square().sum())  # scaled series have mean 0
        return 1 - error / total if total else None

    def _key(self) -> str:
        """Digest of what a run depends on; a checkpoint of another run is not used."""
        content = {
            "version": self.version,
            "config": self.config.model_dump(mode="json"),
            "data": [[split.cache.key, split.ids] for split in (self.train, self.validation) if split is not None],
            "device": self.device.type,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _save(self, workdir: Path, log: list[dict[str, Any]]) -> None:
        """Write a step checkpoint: one file, moved into place, so that it is whole or absent."""
        workdir.mkdir(parents=True, exist_ok=True)
        tensors = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        temporary = workdir / f".{os.getpid()}.safetensors"
        save_file(plain, temporary, metadata={"key": self._key(), "log": json.dumps(log)})
        os.replace(temporary, workdir / "step.safetensors")

    def _resume(self, workdir: Path) -> list[dict[str, Any]]:
        """Load the step checkpoint of this run; the rows of its log, none where there is no such checkpoint."""
        try:
            with safe_open(workdir / "step.safetensors", "pt") as file:
                metadata = file.metadata()
                if metadata["key"] != self._key():
                    return []
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (FileNotFoundError, SafetensorError):
            return []
        self.network.load_state_dict(
            {k.removeprefix("network/"): v for k, v in tensors.items() if k.startswith("network/")}
        )
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer/"):
                _, number, field = name.split("/")
                state.setdefault(int(number), {})[field] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        log = json.loads(metadata["log"])
        print(f"train: goes on from step {len(log)}", file=sys.stderr, flush=True)
        return log

    def _tell(self, row: dict[str, Any], seconds: float) -> None:
        done, steps = row["step"] + 1, self.config.steps
        if not isinstance(row["loss"], Tensor) and (done == steps or row["validation_r2"] != "" or done % 10 == 0):
            score = f", validation R2 {row['validation_r2']:.3f}" if row["validation_r2"] != "" else ""
            left = seconds * (steps - done) / 60
            print(
                f"train: {done}/{steps}, loss {row['loss']:.4f}{score}, about {left:.1f} min left",
                file=sys.stderr,
                flush=True,
            )


def learning_rate(step: int, config: Config) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = max(round(config.warmup * config.steps), 1)
    if step < warm:
        return config.lr * (step + 1) / warm
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(config.steps - warm, 1)))


def _seed(config: Config, *stream: int) -> torch.Generator:
    return generator(config.seed, *stream)


def _optimizer(network: BrainLM, config: Config) -> torch.optim.AdamW:
    embeddings = {"spatial", "temporal", "cls", "mask_token", "place.weight"}
    named = list(network.named_parameters())
    decayed = [p for n, p in named if p.ndim > 1 and n not in embeddings]
    rest = [p for n, p in named if p.ndim <= 1 or n in embeddings]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95))
