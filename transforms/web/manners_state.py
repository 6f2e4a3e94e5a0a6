"""What is kept of each site, in three tables: when it may be asked next, who asks, what it refused.

Each function here is a step within one change of the file (`manners_file.py`). Moments are seconds
of the clock that all processes share.
"""

from __future__ import annotations

import math
import sqlite3

from reelscript.pipeline.processes import exists, this_process

TABLES = (
    "create table moments (site text, what text, at_s real not null, primary key (site, what))",
    "create table slots (id integer primary key, site text, pid integer, born text)",
    "create table refusals (run text, site text, times integer not null, said text not null,"
    " primary key (run, site))",
)


def forget_past(file: sqlite3.Connection, now_s: float) -> None:
    """Takes out moments that are past: they are as good as none."""
    file.execute("delete from moments where at_s <= ?", (now_s,))


def due(file: sqlite3.Connection, site: str, what: str) -> float:
    """Returns when something may be done at a site; -inf: at once."""
    row = (site, what)
    found = file.execute("select at_s from moments where site = ? and what = ?", row).fetchone()
    return float(found[0]) if found else -math.inf


def put_off(file: sqlite3.Connection, site: str, what: str, to_s: float) -> None:
    """Makes something due at a moment, or later if it was."""
    file.execute(
        "insert into moments values (?, ?, ?)"
        " on conflict do update set at_s = max(at_s, excluded.at_s)",
        (site, what, to_s),
    )


def take(
    file: sqlite3.Connection, site: str, what: str, earliest_s: float, spacing_s: float
) -> float:
    """Returns when something may be done; the next one is due `spacing_s` after that."""
    at_s = max(earliest_s, due(file, site, what))
    if spacing_s > 0:
        put_off(file, site, what, at_s + spacing_s)
    return at_s


def claim_slot(file: sqlite3.Connection, site: str, slots: int) -> int | None:
    """Returns the number of a slot that is this process's now; None if all are held by the living.

    To be given back with `free_slot`.
    """
    rows = file.execute("select id, pid, born from slots where site = ?", (site,)).fetchall()
    dead = [number for number, pid, born in rows if not exists(pid, born)]
    for number in dead:
        free_slot(file, number)
    if len(rows) - len(dead) >= slots:
        return None
    us = this_process()
    row = (site, us["pid"], us["born"])
    return file.execute("insert into slots (site, pid, born) values (?, ?, ?)", row).lastrowid


def free_slot(file: sqlite3.Connection, number: int) -> None:
    """Gives a slot back."""
    file.execute("delete from slots where id = ?", (number,))


def count_refusal(file: sqlite3.Connection, run: str, site: str, said: str) -> None:
    """Counts a blocked answer, and keeps what was said."""
    file.execute(
        "insert into refusals values (?, ?, 1, ?)"
        " on conflict do update set times = times + 1, said = excluded.said",
        (run, site, said),
    )


def forget_refusals(file: sqlite3.Connection, run: str, site: str, fewer_than: int) -> None:
    """Forgets blocked answers, if there are fewer than so many."""
    sql = "delete from refusals where run = ? and site = ? and times < ?"
    file.execute(sql, (run, site, fewer_than))


def last_refusal(file: sqlite3.Connection, run: str, site: str, at_least: int) -> str | None:
    """Returns what was said last where there are so many blocked answers, else None."""
    sql = "select said from refusals where run = ? and site = ? and times >= ?"
    found = file.execute(sql, (run, site, at_least)).fetchone()
    return str(found[0]) if found else None
