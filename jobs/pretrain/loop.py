"""The training loop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from reelscript.jobs.pretrain.log import Log
from reelscript.jobs.pretrain.meter import Meter
from reelscript.jobs.pretrain.processes import Processes
from reelscript.jobs.pretrain.trainer import Measured, Trainer
from reelscript.pipeline.errors import ReelscriptError
from reelscript.schemas.text import one_line

NAMED = 8  # windows in one message


class NotFinite(ReelscriptError):
    """A loss or a gradient is not a finite number: training cannot go on."""


def train(
    trainer: Trainer,
    here: Processes,
    meter: Meter,
    log: Log,
    save: Callable[[], None],
    validate: Callable[[], None],
) -> None:
    """Trains to the last step, and saves there and on the way.

    Args:
        trainer: what is trained.
        here: this process among the others.
        meter: of the speed.
        log: where numbers go.
        save: writes a checkpoint.
        validate: looks at held-out windows.

    Raises:
        KeyboardInterrupt: this process or another one was asked to stop; all is saved.
        NotFinite: a loss or a gradient is not; the weights are lost, checkpoints are from before.
    """
    config = trainer.config
    pending: list[Measured] = []  # not yet looked at: to look is to wait for the device
    with stop_asked() as asked:
        while trainer.step < trainer.steps:
            measured = trainer.advance(meter)
            step, is_last = trainer.step, trainer.step == trainer.steps
            stop, wrong = here.any(asked(), not all(one.is_finite for one in pending))
            if wrong:
                raise_not_finite([*pending, measured], here)
            pending = [measured]
            to_log, to_save, to_validate = (
                is_last or (every is not None and step % every == 0)
                for every in (
                    config.logging.every_steps,
                    config.checkpoints.every_steps,
                    config.validation.every_steps,
                )
            )
            if to_log or to_save or to_validate or stop:
                if here.any(not measured.is_finite)[0]:
                    raise_not_finite(pending, here)
                pending = []
            if to_log:
                log.step(trainer, measured, meter.look(), here)
            if to_validate and config.validation.every_steps is not None:
                validate()
            if to_save or stop:
                save()
            if to_save or to_validate:
                meter.restart()
            if stop and not is_last:
                raise KeyboardInterrupt


@contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether Ctrl-C or SIGTERM came; the second one ends at once."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        for one, before in earlier.items():
            signal.signal(one, before)

    earlier = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        for one in earlier:
            signal.signal(one, note)
    except ValueError:  # not in the main thread: nobody sends it signals
        earlier = {}
    try:
        yield lambda: bool(came)
    finally:
        for one, before in earlier.items():
            signal.signal(one, before)


def raise_not_finite(steps: list[Measured], here: Processes) -> None:
    """Raises NotFinite in process 0, with the first step that went wrong in any process."""
    wrong = next((one for one in steps if not one.is_finite), None)
    told = None if wrong is None else (wrong.step, here.rank, wrong.numbers(), wrong.keys)
    found = min(one for one in here.gather(told) if one is not None)

    def fail() -> None:
        step, rank, numbers, keys = found
        said = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        names = ", ".join(one_line(key, 80) for key in keys[:NAMED])
        more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
        raise NotFinite(
            f"step {step}: a loss or its gradient is not finite ({said}); the batch of process "
            f"{rank} was {names}{more}; checkpoints are from before it: go on with lower learning "
            "rates, a clip_norm or a warm-up in another run, or look at those windows"
        )

    here.together(fail)
