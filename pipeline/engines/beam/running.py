"""A pipeline of Beam under way, beside the driver: what becomes of it, said in one sentence."""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil

from reelscript.pipeline.engines.beam.results import GOES_ON, heard
from reelscript.pipeline.engines.beam.stations import HARNESS
from reelscript.pipeline.errors import ReelscriptError
from reelscript.schemas.text import one_line

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

RUNNER = "FnApiRunner"
LOG_LEVEL = "CRITICAL"  # of worker processes
WORKER_PROCESS = f"trap '' INT; exec {shlex.quote(sys.executable)} -m {HARNESS} >/dev/null 2>&1"
"""For a shell. Ctrl-C, which a terminal sends to all, is the driver's to handle; and whatever ends
such a process, it prints pages, though Beam or the driver knows of it too."""
SILENT = logging.CRITICAL + 1
GRACE_S = 30.0  # for a pipeline that nobody wants any more to end
CLOSED = "Channel closed prematurely"  # so says FnApiRunner, if it says anything
KILLED = f"a worker process of Beam was killed, and {RUNNER} tries nothing again: {GOES_ON}"


class Running:
    """A pipeline in a thread of its own.

    Args:
        build: puts the steps into a pipeline.
        options: of Beam.
    """

    def __init__(self, build: Callable[[Any], None], options: PipelineOptions) -> None:
        self._build = build
        self._options = options
        self._result: Any = None
        self._error: BaseException | None = None
        self._processes = Processes()
        self._over = threading.Event()  # Ctrl-C in the join() of a thread makes it count as ended
        threading.Thread(target=self._run, name="beam", daemon=True).start()

    def _run(self) -> None:
        try:
            with quiet():
                import apache_beam as beam

                pipeline = beam.Pipeline(_runner(self._options), self._options)
                self._build(pipeline)
                self._result = pipeline.run()
                self._result.wait_until_finish()
        except BaseException as error:  # for the driver's thread to see
            self._error = error
        finally:
            self._over.set()

    def wait(self, most_s: float) -> bool:
        """Waits a while, and returns whether it is still under way."""
        self._processes.look()
        return not self._over.wait(most_s)

    def fault(self) -> ReelscriptError | None:
        """Returns what ended it, or will never let it end; None where nothing did."""
        if self._processes.killed or CLOSED in str(self._error):
            return ReelscriptError(KILLED)
        if self._error is None:
            return None
        said = one_line((str(self._error).strip() or repr(self._error)).splitlines()[-1])
        return heard(self._error) or ReelscriptError(f"Beam ended the run: {said}: {GOES_ON}")

    def end(self) -> None:
        """Ends it, if it is under way, and waits until it has ended."""
        if not self._processes.killed:  # FnApiRunner may wait for the dead for ever
            if self._result is not None and not self._over.is_set():
                with contextlib.suppress(Exception):  # not every runner can; its workers hear of it
                    self._result.cancel()
            self._over.wait(GRACE_S)
        if not self._over.is_set():
            self._processes.look()
            self._processes.kill()


class Processes:
    """The worker processes that Beam has started since.

    Attributes:
        killed: one of them is gone. They end by themselves only when all is done.
    """

    def __init__(self) -> None:
        self._others = _harnesses()
        self._seen: set[psutil.Process] = set()
        self.killed = False

    def look(self) -> None:
        """Looks which are there; to be called before the results of the run are read."""
        found = _harnesses() - self._others
        self.killed = self.killed or not self._seen <= found
        self._seen |= found

    def kill(self) -> None:
        """Kills those that are left; what they have started ends with them."""
        for process in self._seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _harnesses() -> set[psutil.Process]:
    """Returns Beam's processes. One that begins to start another is there twice: below itself."""
    found = set()
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if HARNESS in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process)
    return found


def _runner(options: PipelineOptions) -> Any:
    """Returns the runner that the options name.

    FnApiRunner does not hand options on to its worker processes, which then log as they like; and
    where it is to have processes, it starts them as it likes, unless they are its only way.
    """
    from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

    name = options.view_as(StandardOptions).runner
    if name != RUNNER:
        return name
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.job.utils import dict_to_struct
    from apache_beam.runners.portability.fn_api_runner.fn_runner import (
        ExtendedProvisionInfo,
        FnApiRunner,
    )
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    processes, direct = None, options.view_as(DirectOptions)
    if direct.direct_running_mode == "multi_processing":
        processes = SubprocessSDKEnvironment.from_command_string(WORKER_PROCESS)
        direct.direct_running_mode = "in_memory"  # its default: as the environment says
    level = {"beam:option:default_sdk_harness_log_level:v1": LOG_LEVEL}
    info = beam_provision_api_pb2.ProvisionInfo(
        pipeline_options=dict_to_struct(level), retrieval_token="none"
    )
    return FnApiRunner(processes, provision_info=ExtendedProvisionInfo(info))


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Beam from logging: pages for each error, which we tell in one sentence."""
    logger = logging.getLogger("apache_beam")
    before = logger.level
    logger.setLevel(SILENT)
    logging.root.addFilter(_of_others)
    hook, threading.excepthook = threading.excepthook, _others_hook(threading.excepthook)
    try:
        yield
    finally:
        logger.setLevel(before)
        logging.root.removeFilter(_of_others)
        threading.excepthook = hook


def _of_others(record: logging.LogRecord) -> bool:
    """Returns whether a record that was logged without a logger is none of Beam's."""
    return "apache_beam" not in record.pathname


def _others_hook(hook: Callable[[threading.ExceptHookArgs], Any]) -> Callable[[Any], Any]:
    """Returns a hook for what ends threads; those of Beam tell its runner."""

    def told(args: threading.ExceptHookArgs) -> None:
        files = [frame.filename for frame in traceback.extract_tb(args.exc_traceback)]
        if not any("apache_beam" in file for file in files):
            hook(args)

    return told
