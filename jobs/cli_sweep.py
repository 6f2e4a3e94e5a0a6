"""The verb that looks at other thresholds."""

from __future__ import annotations

import click


@click.command(epilog="Example: reelscript sweep corpus quality.max_words_per_s=2:6:0.5")
@click.argument("folder", metavar="DIR")
@click.argument("settings", nargs=-1, metavar="[SETTING=VALUES]...")
@click.option("-o", "--out", metavar="FILE.json|FOLDER", help="Where JSON, or JSON and a page, go.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def sweep(folder: str, settings: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """Show what a corpus would be at other thresholds, from stored scores: nothing runs again.

    VALUES are start:stop:step (both ends included), or a list such as 0.1,0.2,off; one or two
    settings at a time. Without any: which threshold costs the most hours, each one off by itself.
    Videos that were rejected before their clips were scored count as unknown, never as kept.
    """
    import json

    from rich.console import Console

    from reelscript.jobs.sweep.sweep import sweep as run
    from reelscript.jobs.sweep.words import print_sweep
    from reelscript.jobs.sweep.written import write_sweep

    found = run(folder, settings)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_sweep(found, Console())
    for name in write_sweep(found, out) if out is not None else ():
        click.echo(f"written: {name}", err=True)
