"""The verbs that tell what is in a corpus, what was left out and why."""

from __future__ import annotations

import click

from reelscript.schemas.text import one_line


@click.command(epilog="Example: reelscript audit corpus")
@click.argument("folder", metavar="DIR")
@click.argument("other", metavar="[OTHER]", required=False)
@click.option(
    "-o",
    "--out",
    metavar="FOLDER",
    help="Where the page is written.  [default: DIR; with OTHER: comparison]",
)
@click.option("--json", "as_json", is_flag=True, help="The numbers on standard output.")
def audit(folder: str, other: str | None, out: str | None, as_json: bool) -> None:
    """Tell what is in a corpus, what was left out, and why: report.html and stats.json.

    With OTHER, two corpora side by side: what drifted, and which clips only one has. An older
    release is a corpus of its own: DIR/releases/r000.
    """
    if other is None:
        _tell_audit(folder, out, as_json)
    else:
        _tell_comparison(folder, other, out or "comparison", as_json)


def _tell_audit(folder: str, out: str | None, as_json: bool) -> None:
    import json

    from rich.console import Console

    from reelscript.jobs.audit import audit as run
    from reelscript.jobs.report.funnel_text import funnel_table

    found = run(folder, out)
    if as_json:
        click.echo(json.dumps(found.stats, indent=2, ensure_ascii=False))
        return
    Console().print(funnel_table(found.stats))
    for law in found.stats["checks"]:
        if not law["holds"]:
            click.echo(f"wrong: {law['law']}: {law['left']} and {law['right']}")
    if found.no_config:
        click.echo(f"{one_line(found.no_config, 300)}: thresholds are not shown")
    if found.card_kept:
        click.echo("README.md was changed by hand and stays as it is")
    click.echo(f"{one_line(found.folder)}/report.html shows it; stats.json has the numbers.")


def _tell_comparison(folder: str, other: str, out: str, as_json: bool) -> None:
    import json

    from reelscript.jobs.compare.compare_text import compare_text
    from reelscript.jobs.compare.page import nothing_differs
    from reelscript.jobs.compare.run import PAGE, compare_corpora

    found = compare_corpora(folder, other, out)
    if as_json:
        click.echo(json.dumps(found.result, indent=2, ensure_ascii=False, allow_nan=False))
        return
    click.echo(compare_text(found.result), nl=False)
    for side, why in found.result["no_config"].items():
        if why:
            click.echo(f"{side.upper()}: {one_line(why, 300)}: settings are not compared")
    if nothing_differs(found.result):
        click.echo("no drift: counts, distributions, words and clips are the same")
    click.echo(f"{one_line(found.folder)}/{PAGE} shows it; comparison.json has the numbers.")
