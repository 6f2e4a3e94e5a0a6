"""`reelscript pretrain CONFIG --data DIR -o RUN`: from a corpus to a trained network.

```
RUN/config.yaml     all settings, defaults written out
    log.jsonl       a line a time: losses, rates, speed, what could not be read
    tensorboard/    the same, if its package is there
    checkpoints/    step-00001000/ ...: the newest few
    ledger/runs/    what each start of this run tells of itself, also after a crash
```
The same command goes on from the newest checkpoint. Under torchrun each process runs this, and they
train together; process 0 writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelscript.jobs.pretrain import checkpoints
from reelscript.jobs.pretrain.assemble import assembled, objective_of
from reelscript.jobs.pretrain.config import PretrainConfig
from reelscript.jobs.pretrain.feed import Feed
from reelscript.jobs.pretrain.log import Log
from reelscript.jobs.pretrain.loop import train
from reelscript.jobs.pretrain.meter import Meter, flops_of_window, peak_flops
from reelscript.jobs.pretrain.processes import Processes, processes
from reelscript.jobs.pretrain.run_folder import begin, settled
from reelscript.jobs.pretrain.settings import load_config
from reelscript.jobs.pretrain.streams import Streams, open_streams
from reelscript.jobs.pretrain.trainer import Trainer
from reelscript.jobs.pretrain.validation import is_better, validate


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Attributes:
        step: how many steps were done.
        checkpoint: folder of the last one.
        newest: the last numbers that were logged; empty but in process 0.
    """

    step: int
    checkpoint: Path
    newest: dict[str, Any]


def pretrain(
    config: str | Path | PretrainConfig,
    data: str | Path,
    out: str | Path,
    *,
    settings: Sequence[str] = (),
    command: str = "reelscript pretrain",
    tell: Callable[[str], None] = print,
    opened: Callable[[PretrainConfig, str, Path, Processes], Streams] = open_streams,
) -> Trained:
    """Trains a network on a corpus, from the newest checkpoint in `out` if there is one.

    Args:
        config: YAML file, or the config itself.
        data: the corpus: a folder or fsspec URL.
        out: folder of the run; of several machines, one that all of them see.
        settings: `a.b=value`, which override the YAML file.
        command: what goes on, as told to a second run in the same folder.
        tell: called with each line for people, in process 0.
        opened: opens the streams of the data.

    Raises:
        UsageError: the config or an argument is wrong, or another run is at work in `out`.
        DataError: the corpus or a checkpoint is damaged.
        NotFinite: the training diverged.
        StorageError: a disk is full.
        KeyboardInterrupt: Ctrl-C or SIGTERM came; a checkpoint was written.
    """
    folder, progress = Path(out), {"phase": "opening the data"}
    with processes() as here, ExitStack() as stack:

        def begun() -> PretrainConfig:
            given = config
            if not isinstance(given, PretrainConfig):
                given = load_config(Path(given), settings)
            given = settled(given, folder, data)
            begin(stack, folder, given, command, progress.copy)
            return given

        told = here.first(begun)
        device = here.together(lambda: here.device(told.compute.device))
        streams = here.together(lambda: opened(told, str(data), folder, here))
        trainer = here.together(lambda: assembled(told, streams, device, here))
        for feed in (trainer.windows, trainer.captions):
            if feed is not None:
                stack.callback(feed.close)
        run = _Run(trainer, streams, here, folder, tell, progress)
        run.go_on()
        return run.to_the_end()


@dataclass
class _Run:
    """A run between its beginning and its end.

    Attributes:
        trainer: what is trained.
        streams: the data.
        here: this process among the others.
        folder: of the run.
        tell: called with each line for people, in process 0.
        progress: what the run does now, for who looks from outside.
    """

    trainer: Trainer
    streams: Streams
    here: Processes
    folder: Path
    tell: Callable[[str], None]
    progress: dict[str, Any]

    @property
    def checkpoints(self) -> Path:
        return self.folder / checkpoints.CHECKPOINTS

    def go_on(self) -> None:
        """Goes to the newest checkpoint, if there is one."""
        trainer, here = self.trainer, self.here
        found = here.first(lambda: checkpoints.steps_of(self.checkpoints))
        if found:
            here.together(
                lambda: trainer.load_state_dict(
                    checkpoints.read(self.checkpoints, found[-1], trainer.model)
                )
            )
        where = f"goes on from step {trainer.step}" if found else "begins"
        stream = self.streams.windows.stream
        refused = ", ".join(f"{count} {why}" for why, count in stream.refused.items() if count)
        self._say(
            f"training {where}: {trainer.steps} steps of {trainer.config.optimisation.batch} "
            f"windows on {here.world} x {trainer.device}; an epoch has {len(stream)} parts of a "
            f"batch for each process, refused windows: {refused or 'none'}"
        )

    def to_the_end(self) -> Trained:
        """Trains to the last step."""
        trainer, config = self.trainer, self.trainer.config
        peak = peak_flops(config, trainer.device)
        meter = Meter(flops_of_window(config), None if peak is None else peak * self.here.world)
        written = self.folder if self.here.is_first else None
        tensorboard = config.logging.tensorboard
        self.progress |= {"phase": "training", "steps": trainer.steps}
        with Log(written, trainer.step, tensorboard, self.tell, self.progress) as log:
            train(trainer, self.here, meter, log, self.save, lambda: self.look(log))
        newest = self.progress.get("newest", {})
        return Trained(trainer.step, checkpoints.place_of(self.checkpoints, trainer.step), newest)

    def save(self) -> None:
        """Writes a checkpoint, and removes those that need not stay."""
        trainer = self.trainer

        def write() -> None:
            checkpoints.write(self.checkpoints, trainer.step, trainer.model, trainer.state_dict())
            checkpoints.prune(self.checkpoints, trainer.config.checkpoints)

        self.here.first(write)
        self.progress["checkpoint"] = trainer.step

    def look(self, log: Log) -> None:
        """Looks at held-out windows, and keeps the weights if they are the best so far."""
        trainer, config = self.trainer, self.trainer.config
        feed = Feed(self.streams.held_out(), config.model, trainer.device, masked=False)
        objective = objective_of(trainer.model, config)
        found = validate(objective, feed, config.validation.windows, self.here)
        log.write({"step": trainer.step} | {f"validation_{k}": v for k, v in found.items()})
        said = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        self._say(f"step {trainer.step}: held-out windows: {said}")
        metric = config.checkpoints.best
        if metric is not None and is_better(metric, found[metric], trainer.best):
            trainer.best = found[metric]
            self.here.first(lambda: checkpoints.write_best(self.checkpoints, trainer.model))

    def _say(self, line: str) -> None:
        if self.here.is_first:
            self.tell(line)
