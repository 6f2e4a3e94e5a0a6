"""What a run tells: RUN/log.jsonl, TensorBoard, and a line a time."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reelscript.jobs.pretrain.processes import Processes
from reelscript.jobs.pretrain.trainer import Measured, Trainer
from reelscript.pipeline.attempts import storing
from reelscript.schemas.text import one_line

JSONL, TENSORBOARD = "log.jsonl", "tensorboard"


class Log:
    """Numbers of a run, by step. Only process 0 writes; the others take part in the sums.

    Args:
        folder: of the run; None: nothing is written.
        step: from where the run goes on: what was logged of later steps is taken out.
        tensorboard: whether for TensorBoard too, if its package is there.
        tell: called with each line for people.
        progress: gets the newest numbers as `newest`.
    """

    def __init__(
        self,
        folder: Path | None,
        step: int,
        tensorboard: bool,
        tell: Callable[[str], None],
        progress: dict[str, Any],
    ) -> None:
        self.folder, self.tell, self.progress = folder, tell, progress
        self._writer: Any = None
        if folder is None:
            return
        with storing(f"write {folder / JSONL}", folder):
            cut(folder / JSONL, step)
        if tensorboard:
            self._writer = _summary_writer(folder / TENSORBOARD, step)

    def step(
        self, trainer: Trainer, measured: Measured, speed: dict[str, float], here: Processes
    ) -> None:
        """Writes what a step said: means over the processes, the longest wait of any."""
        feeds = [feed for feed in (trainer.windows, trainer.captions) if feed is not None]
        failed = [one for feed in feeds for one in feed.take_failed()]
        everyone = here.gather((measured.numbers(), speed["data_wait"], failed))
        numbers = [told[0] for told in everyone]
        means = {name: sum(one[name] for one in numbers) / len(numbers) for name in numbers[0]}
        lost = [one for told in everyone for one in told[2]]
        trainer.failed += len(lost)
        losses = {name: value for name, value in means.items() if name != "gradient"}
        self.write(
            {
                "step": measured.step,
                "epoch": trainer.windows.epoch,
                "loss": sum(losses.values()),
                **losses,
                "gradient": means["gradient"],
                **{f"rate_{name}": rate for name, rate in measured.rates.items()},
                **speed,
                "data_wait": max(told[1] for told in everyone),
                "failed_windows": trainer.failed,
            }
        )
        for fault in lost:
            told = {"failed": fault.key, "kind": fault.kind, "why": fault.detail}
            self.write({"step": measured.step} | {k: one_line(v, 400) for k, v in told.items()})
        if self.folder is not None:
            self.tell(progress_line(self.progress["newest"], trainer.steps))

    def write(self, values: dict[str, Any]) -> None:
        """Writes one line to log.jsonl, and its numbers to TensorBoard."""
        if self.folder is None:
            return
        if "loss" in values:
            self.progress["newest"] = values
        file = self.folder / JSONL
        with storing(f"write {file}", self.folder), file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(values) + "\n")
        if self._writer is not None:
            for name, value in values.items():
                if isinstance(value, int | float) and name != "step":
                    self._writer.add_scalar(name, value, values["step"])

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


def progress_line(values: dict[str, Any], steps: int) -> str:
    """Returns the line that people see of a step."""
    losses = [name for name in ("contrastive", "sorting", "captions") if name in values]
    parts = ", ".join(f"{name} {values[name]:.4g}" for name in losses)
    speed = f"{values['windows_per_s']:.4g} windows/s, {values['data_wait']:.0%} waiting for data"
    if "utilisation" in values:
        speed += f", {values['utilisation']:.0%} of the peak"
    failed = f", {values['failed_windows']} not read" if values["failed_windows"] else ""
    return f"step {values['step']} of {steps}: loss {values['loss']:.4g} ({parts}); {speed}{failed}"


def cut(file: Path, step: int) -> None:
    """Takes the lines of later steps out of a log, and a last line that is not whole."""
    if not file.exists():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    part.write_text("".join(kept), encoding="utf-8")
    part.replace(file)


def _summary_writer(folder: Path, step: int) -> Any:
    """Returns a writer for TensorBoard that hides what was logged of later steps, or None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
