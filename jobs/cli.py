"""The command line. Everything heavy is imported by the verb that needs it."""

from __future__ import annotations

import contextlib
import difflib
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from reelscript.jobs import cli_audit, cli_networks, cli_sweep
from reelscript.jobs.command_line import (
    let_threads_sleep,
    max_failed,
    quiet,
    same_command,
    settings,
)
from reelscript.jobs.exit_codes import BLOCKED, DATA_WRONG, INTERRUPTED, TOO_MANY_FAILED, USAGE
from reelscript.pipeline.errors import DataError, ReelscriptError, SitesBlocked, UsageError
from reelscript.schemas.text import one_line

if TYPE_CHECKING:
    from reelscript.jobs.build import Built

LATER = ("score", "remove", "export")
MAX_FAULTS = 10
SAVED = "interrupted; what was finished is saved, the same command goes on"


class Verbs(click.Group):
    """The verbs, with an answer to those that do not exist, or not yet."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Returns the command that the arguments name."""
        name = args[0] if args else ""
        if name in LATER:
            raise click.UsageError(
                f"'{name}' is not part of this version; it has {', '.join(sorted(self.commands))}"
            )
        if name not in self.commands:
            close = difflib.get_close_matches(name, [*self.commands, *LATER], n=1)
            hint = (
                f"did you mean '{close[0]}'?"
                if close
                else f"there are {', '.join(sorted(self.commands))}"
            )
            raise click.UsageError(f"there is no verb '{one_line(name, 60)}'; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a verb. Click itself ends at any broken pipe without a word, also at that of Ray."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if _nobody_reads():
                raise
            raise ReelscriptError(f"{error.strerror or error}: the same command goes on") from error


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reelscript")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """From raw video to transcribed, filtered, deduplicated WebDataset corpora.

    Exit codes: 0 done; 1 the data is wrong or the run broke; 2 the command line or the config
    is wrong; 3 finished, but more sources failed than --max-failed allows; 4 a site blocks us,
    its sources wait; 130 interrupted, work saved.
    """


@cli.command(epilog="Example: reelscript build videos/ -o corpus --set transcribe.model=small")
@click.argument("what", nargs=-1, metavar="CONFIG.yaml|SOURCES...")
@click.option("-o", "--out", required=True, help="The corpus folder (or fsspec URL).")
@settings
@click.option(
    "--engine",
    default="local",
    show_default=True,
    help="Where stages run: local, ray or beam.",
)
@click.option(
    "--engine-option",
    "engine_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Of the engine, repeatable: address=auto, runner=DataflowRunner, ...",
)
@click.option(
    "--workers", type=click.IntRange(1), help="CPU worker processes.  [default: one a core]"
)
@click.option(
    "--gpus",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="GPU workers, where a GPU is used.",
)
@click.option("--limit", type=click.IntRange(1), help="Take only the first N sources.")
@click.option(
    "--retry-failed",
    is_flag=False,
    flag_value="all",
    metavar="[REASON]",
    help="Try failed sources again: those that failed for REASON, or all.",
)
@max_failed("sources")
@quiet
@click.option("--dry-run", is_flag=True, help="Check everything, estimate, write nothing.")
@click.option("--publish", is_flag=True, help="A release of what is finished; measure nothing.")
def build(what: tuple[str, ...], out: str, quiet: bool, dry_run: bool, **options: Any) -> None:
    """Build a corpus from videos: files, folders, globs, URLs, lists of them, or a YAML config.

    The same command again goes on where the last one ended, and does nothing twice.
    """
    if not what:
        raise UsageError(
            "build what? Name a config.yaml, files, folders, globs, URLs or a list: "
            "reelscript build videos/ -o corpus"
        )
    is_config = len(what) == 1 and Path(what[0]).suffix in (".yaml", ".yml")
    options["config"] = what[0] if is_config else None
    sources = () if is_config else what
    if dry_run:
        _tell_estimate(sources, out, quiet, options)
        return
    from rich.console import Console

    from reelscript.jobs.build import build as run
    from reelscript.jobs.progress import Progress

    progress = Progress(None if quiet else Console(stderr=True))
    options["publish_only"] = options.pop("publish")
    built = run(*sources, out=out, progress=progress, command=same_command(), **options)
    _tell(built)
    if built.exit_code == TOO_MANY_FAILED:
        click.echo(
            f"reelscript: {built.failed_share:.0%} of the sources failed, more than --max-failed "
            f"{options['max_failed']:.0%}: `reelscript status {shlex.quote(out)}` says why, and "
            "how to try them again",
            err=True,
        )
    raise SystemExit(built.exit_code)


def _tell_estimate(
    sources: tuple[str, ...], out: str, quiet: bool, options: dict[str, Any]
) -> None:
    """Prints what a build would take."""
    from rich.console import Console

    from reelscript.jobs.build import prepared, work_of
    from reelscript.jobs.estimate.apart import estimate_apart
    from reelscript.jobs.estimate.text import estimate_table
    from reelscript.pipeline.engines.local import default_workers
    from reelscript.pipeline.store import Store

    asked = {name: options[name] for name in ("config", "settings", "limit")}
    listed, config = prepared(*sources, out=out, fetch_models=False, **asked)
    workers = options["workers"] or default_workers()
    places = work_of(config, out), Store(out)
    made = estimate_apart(listed, config, *places, workers, options["gpus"], quiet)
    Console().print(estimate_table(made))
    click.echo("Nothing was written. The same command without --dry-run builds.")


def _tell(built: Built) -> None:
    """Prints the funnel and where everything lies."""
    from rich.console import Console

    from reelscript.jobs.report.funnel_text import funnel_table

    console = Console()
    console.print(funnel_table(built.stats))
    counts, hours = built.dataset["counts"], built.dataset["hours"]
    click.echo(
        f"{counts['kept']} of {counts['sources']} videos kept, {counts['rejected']} rejected, "
        f"{counts['failed']} failed; "
        f"{counts['clips_kept']} of {counts['clips']} clips in {counts['samples']} samples; "
        f"{hours['kept']:.2f} of {hours['source']:.2f} hours; {len(built.dataset['shards'])} shards"
    )
    click.echo(
        f"{built.folder}/report.html tells why; `reelscript verify {built.folder}` checks it."
    )


@cli.command(epilog="Example: reelscript status corpus")
@click.argument("folder", metavar="DIR")
@click.option("--work", metavar="FOLDER", help="The work folder, if the config names another.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def status(folder: str, work: str | None, as_json: bool) -> None:
    """Show where a build stands: what is finished, what runs now, what failed, how to go on.

    Reads the ledger in the work folder alone: while a build runs, after a crash, from anywhere.
    """
    import json

    from rich.console import Console

    from reelscript.jobs.status.status import status as run
    from reelscript.jobs.status.text import print_status

    found = run(folder, work)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        print_status(found, Console())


@cli.command(epilog="Example: reelscript doctor /data --for build")
@click.argument("folder", metavar="[DIR]", default=".")
@click.option(
    "--for",
    "verb",
    type=click.Choice(["build", "features"]),
    default="build",
    show_default=True,
    help="The verb that is to run here: what others need may be missing.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def doctor(folder: str, verb: str, as_json: bool) -> None:
    """Tell in two seconds whether this machine is ready, and the command that mends what is not.

    DIR is where a corpus is to stand: its disk is looked at. Exit code 1 if something is missing
    without which no video of your own disk can become a corpus; what is merely not ideal is a
    warning, what could not be told in time is named as not known, and what only other verbs need
    is left open. Nothing is written, and nothing is asked
    of the network but, where the speech model is not here, whether its hub can be reached.
    """
    import dataclasses
    import json

    from rich.console import Console

    from reelscript.jobs.doctor.doctor import doctor as run
    from reelscript.jobs.doctor.text import print_findings

    findings = run(folder, verb)
    ready = not any(finding.state == "missing" for finding in findings)
    if as_json:
        listed = [dataclasses.asdict(finding) for finding in findings]
        unknown = [finding.name for finding in findings if finding.state == "unknown"]
        told = {"verb": verb, "ready": ready, "unknown": unknown, "findings": listed}
        click.echo(json.dumps(told, indent=2))
    else:
        print_findings(findings, verb, Console())
    if not ready:
        raise SystemExit(DATA_WRONG)


@cli.command(epilog="Example: reelscript verify corpus")
@click.argument("folder", metavar="DIR")
@click.option("--no-media", is_flag=True, help="Do not decode the videos.")
def verify(folder: str, no_media: bool) -> None:
    """Check every shard against its index and the published format."""
    from reelscript.jobs.verify.corpus import verify as run

    faults = run(folder, media=not no_media)
    for fault in faults[:MAX_FAULTS]:
        click.echo(one_line(fault, 400))
    if faults:
        more = f", of which the first {MAX_FAULTS} are above" if len(faults) > MAX_FAULTS else ""
        click.echo(f"{len(faults)} faults{more}")
        raise SystemExit(DATA_WRONG)
    click.echo("no fault found")


@cli.command(epilog="Example: reelscript show corpus x_0123456789abcdef-000012345")
@click.argument("folder", metavar="DIR")
@click.argument("key", required=False)
@click.option("--video", metavar="ID", help="Every passage and every reject of one source.")
def show(folder: str, key: str | None, video: str | None) -> None:
    """Show one sample: text, words, scores, provenance; or all of one video."""
    if (key is None) == (video is None):
        raise UsageError("show what? Give a sample's KEY, or --video ID")
    from reelscript.jobs.show import show_sample, show_video
    from reelscript.reading.corpus import open_corpus

    corpus = open_corpus(folder)
    click.echo(show_sample(corpus, key) if key is not None else show_video(corpus, str(video)))


@cli.command(epilog="Example: reelscript demo -o demo-corpus --open")
@click.option(
    "-o", "--out", default="demo-corpus", show_default=True, help="The corpus folder to make."
)
@click.option("--open", "in_browser", is_flag=True, help="Open its report in a browser.")
@click.pass_context
def demo(context: click.Context, out: str, in_browser: bool) -> None:
    """Take the tour: five short videos that ship become a corpus, with a real speech model.

    Needs the extra `demo`, no network and no GPU. The same command again does nothing twice.
    """
    from rich.console import Console

    from reelscript.jobs.demo import demo as tour
    from reelscript.jobs.demo.training import CONFIG, train_demo
    from reelscript.jobs.progress import Progress

    tour.check_demo(out)
    click.echo(tour.WHAT_SHIPS)
    built = tour.build_demo(out, Progress(Console(stderr=True)), same_command())
    _tell(built)
    click.echo(f"\n$ reelscript verify {shlex.quote(out)}")
    context.invoke(verify, folder=out)
    if "://" not in out:
        let_threads_sleep()
        click.echo(f"\nA small network is trained on it, with {CONFIG}:")
        for line in train_demo(out):
            click.echo(line)
    for line in tour.look_further(out):
        click.echo(line)
    if in_browser and not tour.open_report(out):
        click.echo("There is no browser to open the report in.")
    raise SystemExit(built.exit_code)


for command in (
    *(cli_audit.audit, cli_sweep.sweep),
    *(cli_networks.evaluate, cli_networks.features, cli_networks.pretrain),
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits with its code; an error is one sentence, no traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _interrupted)  # a batch system, docker stop
    try:
        cli.main(args=list(given), prog_name="reelscript", standalone_mode=False, obj=list(given))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        raise SystemExit(USAGE) from error
    except click.ClickException as error:
        _end(given, one_line(error.format_message(), 1000), USAGE)
    except (click.Abort, KeyboardInterrupt):
        _end(given, SAVED, INTERRUPTED)
    except RuntimeError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        _end(given, SAVED, INTERRUPTED)  # Python 3.11 wraps one that comes while a class is made
    except UsageError as error:
        _end(given, one_line(str(error), 1000), USAGE)
    except SitesBlocked as error:
        _end(given, one_line(str(error), 1000), BLOCKED)
    except (DataError, ReelscriptError) as error:
        _end(given, one_line(str(error), 1000), DATA_WRONG)
    except OSError as error:
        _end(
            given, one_line(f"{error.strerror or error}: {error.filename or ''}", 1000), DATA_WRONG
        )


def _nobody_reads() -> bool:
    """Returns whether it is our own output that nobody takes any more, as of `| head`."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end(arguments: list[str], sentence: str, code: int) -> None:
    if "--debug" in arguments:
        raise
    click.echo(f"reelscript: {sentence}", err=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
