"""What doctor found, as text for a terminal, a pipe or a log."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reelscript.jobs.doctor.finding import Finding

SHOWN = {"ok": "ok", "warning": "warning", "missing": "MISSING", "unknown": "?", "absent": "-"}
STYLES = {"warning": "yellow", "missing": "bold red", "unknown": "yellow", "absent": "dim"}


def print_findings(findings: Sequence[Finding], verb: str, console: Console) -> None:
    """Prints the findings, the commands that mend what is wrong, and whether the verb may run."""
    table = Table(box=box.SIMPLE)
    table.add_column("")
    table.add_column("what", overflow="fold")
    table.add_column("found", overflow="fold")
    for finding in findings:
        state = Text(SHOWN[finding.state], style=STYLES.get(finding.state, ""))
        table.add_row(state, Text(finding.name), Text(finding.found))
    console.print(table)
    needed = [f for f in findings if verb in f.needed_by]
    _mends(console, "To mend:", needed)
    _mends(console, "For other verbs and sources:", [f for f in findings if f not in needed])
    missing = [f.name for f in findings if f.state == "missing"]
    unknown = [f.name for f in findings if f.state == "unknown"]
    ready = f"not ready, for lack of: {', '.join(missing)}" if missing else "ready"
    if unknown:
        ready += f"{';' if missing else ', but'} not known: {', '.join(unknown)}"
    _line(console, f"reelscript {verb}: {ready}")


def _mends(console: Console, title: str, findings: Sequence[Finding]) -> None:
    mended: dict[str, list[str]] = {}  # one command may mend several
    for finding in findings:
        if finding.mend is not None:
            mended.setdefault(finding.mend, []).append(finding.name)
    if mended:
        _line(console, title)
    for command, names in mended.items():
        _line(console, f"  # {', '.join(names)}\n  {command}")


def _line(console: Console, text: str) -> None:
    """Prints a line that is not broken, so that a command can be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
