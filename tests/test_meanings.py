"""Every reason that a stage of ours may give has a meaning in words, and can be retried by name."""

from __future__ import annotations

import ast
from pathlib import Path

from reelscript.jobs.config import Config
from reelscript.jobs.provenance import all_reasons
from reelscript.jobs.report.meanings import REASONS, is_reason
from reelscript.transforms.sites.said import SENTENCES

ROOT = Path(__file__).parents[1]
RAISED = ("StageError", "Fault", "_TryAgain", "Reject")
NOT_OF_ROWS = {"no_sound_alone"}  # said between stages, never of a video


def reasons_in_code() -> set[str]:
    """The first argument of every StageError and the like, where it is plain text."""
    found = set()
    for path in (ROOT / "transforms").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISED and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return found


def test_meanings_of_all_reasons_in_the_code() -> None:
    reasons = reasons_in_code()
    assert {"private_address", "too_large", "no_speech"} <= reasons
    assert sorted(r for r in reasons - NOT_OF_ROWS if not is_reason(r)) == []


def test_meanings_of_all_that_sites_say() -> None:
    assert sorted({kind for _, kind, _ in SENTENCES if not is_reason(kind)}) == []


def test_meanings_of_all_that_stages_declare() -> None:
    named = {reason.rpartition(".")[2] for reason in REASONS}
    for stage, reasons in all_reasons(Config()).items():
        plain = [r for r in reasons if not r.startswith(("low_", "high_", "video_"))]
        assert [r for r in plain if r not in named] == [], stage
