import dataclasses
import io

import pytest
from rich.console import Console

from reelscript.jobs import progress as progress_module
from reelscript.jobs.progress import Progress, clock
from reelscript.pipeline.stage import Timing
from reelscript.pipeline.testing import videos


def timing(video_id: str, stage: str, outcome: str = "pending") -> Timing:
    return Timing(video_id, stage, 1.0, 1.0, False, outcome)


def plain() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=60), out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (3599.9, "1:00:00"),
        (36061, "10:01:01"),
    ],
)
def test_progress_clock_reads_as_one(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


def test_progress_shows_nothing_where_it_is_not_asked_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(None)
    with progress.phase("measure", ["probe"], 1):
        progress.started(videos(1)[0], "probe")
        progress.measured(timing("v000", "probe"))
    assert capsys.readouterr() == ("", "")
    assert progress.stages["probe"].done == 1


def test_progress_counts_what_stages_leave_for_the_next() -> None:
    progress = Progress(None)
    with progress.phase("measure", ["probe", "speech"], total=10, known=3):
        for n, outcome in enumerate(["rejected", "failed", "pending"]):
            progress.started(dataclasses.replace(videos(3)[n], duration_s=60.0), "probe")
            progress.measured(timing(f"v00{n}", "probe", outcome))
    probe = progress.stages["probe"]
    assert (probe.done, probe.rejected, probe.failed, probe.media_s) == (3, 1, 1, 180.0)
    columns = [list(column.cells) for column in progress.table().columns]
    assert columns[0] == ["probe", "speech"]
    assert columns[1] == ["3/7", "0/5"]


def test_progress_prints_one_plain_line_where_there_is_no_terminal() -> None:
    console, out = plain()
    progress = Progress(console)
    with progress.phase("measure [bold]it[/bold]", ["probe", "speech"], total=4, known=1):
        progress.measured(timing("v000", "probe", "rejected"))
    (line,) = out.getvalue().splitlines()
    assert line.startswith("measure [bold]it[/bold] (0:00): ")
    assert "probe 1/3, speech 0/2; 1 rejected, 0 failed, 1 known" in line


def test_progress_prints_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "PLAIN_EVERY_S", -1.0)
    console, out = plain()
    progress = Progress(console)
    with progress.phase("measure", ["probe"], total=2):
        progress.measured(timing("v000", "probe"))
        progress.measured(timing("v001", "probe"))
    assert [line.count("probe") for line in out.getvalue().splitlines()] == [1, 1, 1]


def test_progress_shows_a_table_on_a_terminal() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, force_terminal=True, width=100))
    with progress.phase("measure", ["probe"], total=2):
        progress.measured(timing("v000", "probe"))
    assert "rejected" in out.getvalue()
    assert "measure" in out.getvalue()
