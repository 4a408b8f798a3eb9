"""The training loop: it can be killed at any moment and goes on where it was.

Whatever is random (order, windows, masks, first weights) follows from the seed and the step alone, so the state of a
run is its weights, its optimiser and its log. Several processes share the windows of a step: the gradient is that of
one process that has them all.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from brainlm_data import BrainLMError
from brainlm_model.models.brainlm import BrainLM
from brainlm_model.models.build import build_network
from brainlm_model.models.layout import Layout
from brainlm_model.models.loss import squared_error
from brainlm_model.models.masking import generator, make_mask
from brainlm_model.models.prior import DEFAULT_RIDGE, GaussianPrior, best_ridge, second_moments, shrunk
from brainlm_model.training import same_run, state
from brainlm_model.training.interrupt import Interrupt
from brainlm_model.training.journal import Journal, Row
from brainlm_model.training.optim import learning_rate, make_optimizer
from brainlm_model.training.recompute import recompute_blocks
from brainlm_model.training.world import World

if TYPE_CHECKING:
    from brainlm_model.training.recipe import Config
    from brainlm_model.windows.dataset import WindowDataset
    from brainlm_model.windows.mixture import Mixture

CHOOSING = 24  # validation windows that decide about the ridge, at most
SAVE_SECONDS = 30  # between step checkpoints;
LONG_S = 1.5  # as many times longer as writing one takes longer than this: so it is at most a twentieth of the time
Batch = tuple[Tensor, Tensor, Layout]  # windows (B, P, T), masks, how many of their tokens are visible
FIRST_WEIGHTS, ORDER, MASKS, VALIDATION, DROPOUT = range(5)  # streams of random numbers


class Trainer:
    """The loop and its state.

    Parameters
    ----------
    config: the section `train`.
    train, validation: windows, NaN where nothing is known; validation may be absent.
    version: of the stage; a step checkpoint of another one is not used.
    world: the processes that train together.
    """

    def __init__(
        self,
        config: Config,
        train: WindowDataset | Mixture,
        validation: WindowDataset | None = None,
        version: int = 0,
        world: World | None = None,
    ) -> None:
        self.config, self.train, self.validation, self.version = config, train, validation, version
        self.world = world or World()
        self.device = self.world.device(config.device)
        self.half = config.precision == "bfloat16" or (config.precision == "auto" and self.device.type == "cuda")
        self.settle_every = 1 if self.device.type == "cpu" else 10
        self.batch = min(config.batch_size, len(train))
        self.per_epoch = math.ceil(len(train) / self.batch)
        self.steps = config.steps_of(len(train))
        torch.manual_seed(int(self._random(FIRST_WEIGHTS).initial_seed()))
        self.network = build_network(config.architecture(train.parcels), train.coordinates).to(self.device)
        if self.prior is not None:
            self._moments = self._population_moments()
            self._set_ridge(DEFAULT_RIDGE if config.ridge == "auto" else config.ridge)
        if config.recompute:
            recompute_blocks(self.network)
        self.optimizer = make_optimizer(self.network, config)
        self.best: state.Weights = {}
        self.past: list[str] = []  # what changed on the way, where this run was stopped and went on otherwise
        self._order: tuple[int, list[int]] = (-1, [])
        self._ahead = ThreadPoolExecutor(1) if self.device.type == "cuda" else None
        self._coming: dict[int, Future[Batch]] = {}
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._took_s = 0.0  # to write the last checkpoint
        self.model: nn.Module = torch.compile(self.network) if config.compile else self.network  # type: ignore[assignment]
        if self.world.size > 1:
            self.model = DistributedDataParallel(self.model, forward_sync_buffers=False)

    @property
    def prior(self) -> GaussianPrior | None:
        """The Gaussian that the network starts from, where it does."""
        return self.network.prior if isinstance(self.network, BrainLM) else None

    def _population_moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums and counts (P, P) of the training recordings, of which every process reads its share."""
        mine = np.array_split(np.arange(len(self.train)), self.world.size)[self.world.rank].tolist()
        zeros = np.zeros((self.train.parcels, self.train.parcels))
        sums = [zeros + part for part in second_moments(self.train.series(i) for i in mine)]
        total, count = (self.world.sum(torch.from_numpy(part).to(self.device)).cpu().numpy() for part in sums)
        return total, count

    def _set_ridge(self, ridge: float) -> None:
        """The population's covariance with this ridge."""
        assert self.prior is not None  # whoever calls this has looked
        self.prior.covariance.copy_(torch.from_numpy(shrunk(*self._moments, ridge)))

    def _choose_ridge(self) -> None:
        """Of `RIDGES`, the one with the highest validation R2 before any step."""

        def score(ridge: float) -> float:
            self._set_ridge(ridge)
            validation_r2 = self.validate(CHOOSING)
            return -math.inf if validation_r2 is None else validation_r2

        best, reached = best_ridge(score)
        self._set_ridge(best)
        self._say(f"ridge {best:g}: validation R2 {reached:.3f} before any step")

    def fit(self, workdir: Path | None) -> list[Row]:
        """Train to the last step, going on from a step checkpoint of the same run. Returns the rows of the log.

        Afterwards the network has the weights that `config.select` asks for; the step checkpoint has the last ones too.

        Raises
        ------
        BrainLMError: stopped by SIGTERM or SIGUSR1, after writing a step checkpoint; or the loss is not finite.
        InputError: the step checkpoint is of another run, whose model is not written yet; or it is damaged.
        """
        with Interrupt() as asked:
            try:
                log = self._fit(workdir, asked)
            finally:
                self._await_writing()
        if self.best and self.config.select == "best":
            self.network.load_state_dict(self.best)
        return log

    def _fit(self, workdir: Path | None, asked: Interrupt) -> list[Row]:
        log = self._resume(workdir) if workdir else []
        if not log and not self.network.coordinates.any():
            self._say("no parcel has coordinates (atlas.labels, or import's --atlas-labels): they are known by number")
        if not log and self.config.ridge == "auto" and self.prior is not None and self.validation is not None:
            self._choose_ridge()
        journal = Journal(workdir if self.world.rank == 0 else None, self.steps, log, self.config.tensorboard)
        saved = time.monotonic()  # when the last checkpoint was begun
        while not (log and log[-1]["loss"] == ""):  # the last row has no step of its own
            step, begun = len(log), time.monotonic()
            last = step == self.steps
            score = self._score(log) if last or step % self.config.eval_every == 0 else None
            if not last and step % self.config.eval_every == 0:
                last = self._is_stale([*_scores(log), *_rounded(score)])  # all processes have the same score
            done = {"loss": "", "lr": ""} if last else self._step(step)
            seconds: Any = "" if last else round(time.monotonic() - begun, 3)
            row: Row = {"step": step, "epoch": step // self.per_epoch, **done, "seconds": seconds,
                        "validation_r2": "" if score is None else _rounded(score)[0]}  # fmt: skip
            log.append(row)
            settles = last or (step + 1) % self.settle_every == 0
            stop = settles and self.world.any(asked.by, self.device)
            due = stop or last or time.monotonic() - saved > SAVE_SECONDS * max(1.0, self._took_s / LONG_S)
            if settles or due:
                self._settle(log, workdir)
                journal.settle()
            if workdir and due:
                saved = time.monotonic()
                self._save(workdir, log)
                if stop or last:
                    self._await_writing()
            if stop and not last:
                kept = "its checkpoint is written" if workdir else "nothing is kept, there is no work folder"
                raise BrainLMError(
                    f"stopped by {asked.by or 'a signal'} after {step + 1} of {self.steps} steps; {kept}",
                    "run the same command again: it goes on from there",
                )
            if self.world.rank == 0:
                journal.tell(row, self.batch)
        return log

    def _score(self, log: list[Row]) -> float | None:
        """Validation R2 of the weights as they are; the first process keeps them where it is the highest so far."""
        score = self.validate()
        if self.world.rank == 0 and score is not None and score > max(_scores(log), default=-math.inf):
            self.best = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        return score

    def _is_stale(self, scores: list[float]) -> bool:
        """Whether the last `patience` validations brought nothing better."""
        if self.config.patience is None or not scores:
            return False
        return len(scores) - 1 - scores.index(max(scores)) >= self.config.patience

    def _step(self, step: int) -> dict[str, Any]:
        """One optimiser step."""
        self.network.train()
        rate = learning_rate(step, self.steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(int(self._random(DROPOUT, step, self.world.rank).initial_seed()))
        x_BPT, mask, layout = self._take(step)
        x_BPT, mask = (part.to(self.device, non_blocking=True) for part in (x_BPT, mask))
        scored_BPT = self.network.steps(mask) & ~x_BPT.isnan()
        total = self.world.sum(scored_BPT.sum().float()).clamp(min=1)
        size = self.config.micro_batch or len(x_BPT)
        parts = list(zip(x_BPT.split(size), mask.split(size), scored_BPT.split(size), strict=True))
        self.optimizer.zero_grad(set_to_none=True)
        error = torch.zeros((), device=self.device)
        for number, (x, hidden, scored) in enumerate(parts):
            with self._synced(number == len(parts) - 1):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                    expected = self.network.expect(x, hidden, layout)
                    reconstruction = self.model(x, hidden, layout, expected)
                loss = squared_error(reconstruction, x, scored) / total
                (loss * self.world.size).backward()  # the processes' gradients are averaged, and have to be added
            error += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.optimizer.step()
        return {"loss": self.world.sum(error), "lr": round(rate, 8)}

    def _synced(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients travel between processes with the last part of a batch only."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.model.no_sync()

    def _settle(self, log: list[Row], workdir: Path | None) -> None:
        """Losses of the last rows as numbers. Not after every step on a GPU, which would wait for each."""
        for row in log[-self.settle_every - 1 :]:
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
            x_BPT, mask = self._batch(step)
            save_file({"x": x_BPT.contiguous(), "mask": mask}, workdir / "not_finite.safetensors")
            kept = f"; its batch is in {workdir / 'not_finite.safetensors'}"
        names = ", ".join(self.train.ids[i] for i in self._chosen(step))
        return BrainLMError(
            f"the loss is {loss} at step {step} ({names}){kept}",
            "lower train.lr, or look at these recordings; the last step checkpoint is from before",
        )

    def _take(self, step: int) -> Batch:
        """This process's batch of a step. With a GPU a thread makes the next one while this one is computed."""
        if self._ahead is None:
            return self._make(step)
        future = self._coming.pop(step, None) or self._ahead.submit(self._make, step)
        if step + 1 < self.steps:
            self._coming[step + 1] = self._ahead.submit(self._make, step + 1)
        return future.result()

    def _make(self, step: int) -> Batch:
        """Windows, masks and their layout, in pinned memory where they travel to a GPU."""
        x_BPT, mask = self._share(step)
        layout = self.network.layout(x_BPT, mask)
        if self._ahead is None:
            return x_BPT, mask, layout
        return x_BPT.pin_memory(), mask.pin_memory(), layout

    def _share(self, step: int) -> tuple[Tensor, Tensor]:
        """This process's windows and masks of a step. With more processes than windows some have a window of NaN."""
        chosen = self._chosen(step)
        mine = self.world.share(chosen)
        if not mine:
            x_BPT, mask = self._batch(step, [0])
            return x_BPT * torch.nan, mask
        return self._batch(step, mine)

    def _batch(self, step: int, places: list[int] | None = None) -> tuple[Tensor, Tensor]:
        """Windows and masks of a step, or of these places of its batch."""
        chosen = self._chosen(step)
        random = self._random(MASKS, step)
        ratio = self.config.ratio_at(step / max(self.steps - 1, 1), float(torch.rand((), generator=random)))
        rows, columns = self.network.mask_shape
        place_P3 = self.train.coordinates
        mask = make_mask(self.config.masking, len(chosen), rows, columns, ratio, random, place_P3, places)
        if places is not None:
            chosen = [chosen[place] for place in places]
        self.train.set_epoch(step // self.per_epoch)
        return self.train.windows(chosen), mask

    def _chosen(self, step: int) -> list[int]:
        """The recordings of a step, in an order of its epoch."""
        epoch, place = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            self._order = epoch, self.train.order(self._random(ORDER, epoch))
        return self._order[1][place * self.batch : (place + 1) * self.batch]

    def validate(self, most: int | None = None) -> float | None:
        """Flat masked R2 on fixed windows and masks of validation subjects, over all mask ratios; None without any.

        Every process computes its share, and has the score of all. `most`: windows; None: as the configuration has it.
        """
        if self.validation is None:
            return None
        self.network.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)  # of squared errors, and of squared values
        for x_BPT, mask in self._held_out(self.validation, most or self.config.validation_windows):
            layout = self.network.layout(x_BPT, mask)
            x_BPT, mask = x_BPT.to(self.device), mask.to(self.device)
            with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                reconstructed = self.network(x_BPT, mask, layout).float()
            scored = self.network.steps(mask) & ~x_BPT.isnan()
            error = torch.where(scored, reconstructed - x_BPT, 0)
            value = torch.where(scored, x_BPT, 0)  # scaled series have mean 0
            sums += torch.stack([part.double().square().sum() for part in (error, value)])
        error, total = self.world.sum(sums).tolist()
        return 1 - error / total if total else None

    def _held_out(self, data: WindowDataset, most: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of windows and masks, in batches of one mask ratio."""
        mine = list(range(self.world.rank, min(len(data), most), self.world.size))
        size = self.config.micro_batch or math.ceil(self.batch / self.world.size)
        rows, columns = self.network.mask_shape
        for begin in range(0, len(mine), size):
            part = mine[begin : begin + size]
            x_BPT = data.windows(part)
            for number, ratio in enumerate(self.config.ratios):
                masks = []
                for index in part:  # each window has masks of its own, whatever it is batched with
                    random = self._random(VALIDATION, index, number)
                    masks.append(make_mask(self.config.masking, 1, rows, columns, ratio, random, data.coordinates))
                yield x_BPT, torch.cat(masks)

    def _random(self, *stream: int) -> torch.Generator:
        return generator(self.config.seed, *stream)

    @cached_property
    def run(self) -> same_run.Run:
        """What this run depends on."""
        config = self.config.model_copy(
            update={"device": self.device.type, "precision": "bfloat16" if self.half else "float32"}
        )
        data = [each for split in (self.train, self.validation) if split is not None for each in split.content]
        return same_run.describe(config, self.version, self.steps, data)

    def _save(self, workdir: Path, log: list[Row]) -> None:
        """Copy the state and write it while training goes on; the first process alone."""
        if self.world.rank > 0:
            return
        self._await_writing()
        self._took_s = math.inf  # not known yet: no other one is due before it is written
        copy = state.snapshot(self.run, self.network, self.optimizer, self.best, log, self.past)
        self._writing = self._writer.submit(self._write, workdir, copy)

    def _write(self, workdir: Path, copy: state.Checkpoint) -> None:
        begun = time.monotonic()
        state.save(workdir, copy)
        self._took_s = time.monotonic() - begun

    def _await_writing(self) -> None:
        """Until the last step checkpoint is written. Raises what stopped it, a full disk for example."""
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def _resume(self, workdir: Path) -> list[Row]:
        """Load the step checkpoint of this run; the rows of its log, none where there is no such checkpoint."""
        checkpoint = state.load(workdir)
        if checkpoint is None:
            return []
        changes = same_run.changes(checkpoint.run, self.run)
        log, step = checkpoint.log, checkpoint.steps
        if others := [change for change in changes if not change.is_harmless]:
            if not (workdir / state.WRITTEN).exists():
                raise same_run.refusal(workdir, step, others)
            self._say(f"begins anew, other than the run before: {_joined(others)}")
            return []
        self.best, self.past = checkpoint.put(self.network, self.optimizer), checkpoint.past
        if changes:
            self.past = [*self.past, f"after {step} steps: {_joined(changes)}"]
        if log and log[-1]["loss"] == "":
            if step == self.steps or self._is_stale(_scores(log)):
                return log  # nothing is left to do
            log.pop()
        self._say(f"goes on from step {step}" + (f"; {_joined(changes)}" if changes else ""))
        return log

    def _say(self, words: str) -> None:
        """A line on stderr, of one process."""
        if self.world.rank == 0:
            print(f"train: {words}", file=sys.stderr, flush=True)


def _scores(log: list[Row]) -> list[float]:
    """Validation R2 of a log, in order."""
    return [row["validation_r2"] for row in log if row["validation_r2"] != ""]


def _rounded(score: float | None) -> list[float]:
    """A score as the log has it; nothing where there is none."""
    return [] if score is None else [round(score, 5)]


def _joined(changes: list[same_run.Change]) -> str:
    """Changes in words."""
    return ", ".join(change.words() for change in changes)
