import dataclasses
import io
import json
import threading
import time
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

from reelscript.jobs import pace as pace_module
from reelscript.jobs import progress as progress_module
from reelscript.jobs.pace import RECENT_S, SAMPLE_S, Pace
from reelscript.jobs.progress import Progress, clock
from reelscript.pipeline.stage import Timing
from reelscript.pipeline.testing import videos


def timing(
    video_id: str,
    stage: str,
    outcome: str = "pending",
    remembered: bool = False,
    duration_s: float | None = None,
) -> Timing:
    return Timing(video_id, stage, 1.0, 1.0, remembered, outcome, duration_s=duration_s)


class Clock:
    """Stands where a test puts it."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock_of_test(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made.monotonic)
    return made


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


def test_progress_snapshot_tells_what_is_in_work_and_since_when(clock_of_test: Clock) -> None:
    progress = Progress(None)
    a, b, c = videos(3)
    with progress.phase("measure", ["probe", "speech"], total=10, known=3):
        progress.started(a, "probe")
        clock_of_test.at += 5
        progress.started(b, "probe")
        progress.measured(timing(b.video_id, "probe"))
        progress.started(b, "speech")
        progress.started(c, "probe")
        progress.measured(timing(c.video_id, "probe", "rejected"))
        clock_of_test.at += 2
        told = json.loads(json.dumps(progress.snapshot()))
    assert (told["phase"], told["total"], told["known"], told["ended"]) == ("measure", 10, 3, 1)
    assert told["for_s"] == 7.0
    assert [(n["video_id"], n["stage"], n["for_s"]) for n in told["now"]] == [
        ("v000", "probe", 7.0),
        ("v001", "speech", 2.0),
    ]
    older, newer = (datetime.fromisoformat(n["since"]) for n in told["now"])
    assert 4 <= (newer - older).total_seconds() <= 6
    row = {"done": 2, "remembered": 0, "rejected": 1, "failed": 0, "media_s": 0.0, "entering": 7}
    assert told["stages"]["probe"] == row
    assert progress.snapshot()["now"] == []


def test_progress_snapshot_tells_what_happens_between_phases() -> None:
    progress = Progress(None)
    progress.doing("list the sources")
    assert progress.snapshot()["phase"] == "list the sources"
    with progress.phase("measure", ["probe"], total=1):
        progress.measured(timing("v000", "probe"))
    progress.doing("decide")
    assert "stages" not in progress.snapshot()
    assert progress.snapshot()["phase"] == "decide"
    assert progress.stages["probe"].done == 1


def test_progress_rate_and_time_left_come_from_what_was_measured_now(clock_of_test: Clock) -> None:
    progress = Progress(None)
    with progress.phase("measure", ["probe", "speech"], total=100, known=40):
        assert progress.snapshot()["left_s"] is None
        for n in range(20):  # remembered: through at once
            for stage in ("probe", "speech"):
                progress.started(videos(20)[n], stage)
                progress.measured(timing(f"v{n:03d}", stage, remembered=True, duration_s=9.0))
        told = progress.snapshot()
        assert (told["ended"], told["left_s"], told["rates"]["videos_per_h"]) == (20, None, 0.0)
        for n in range(20, 30):  # one in 36 s
            clock_of_test.at += 36
            progress.measured(timing(f"v{n:03d}", "probe", remembered=True, duration_s=60.0))
            progress.measured(timing(f"v{n:03d}", "speech", duration_s=60.0))
        told = progress.snapshot()
    assert told["rates"]["videos_per_h"] == pytest.approx(100)
    assert told["rates"]["media_h_per_h"] == pytest.approx(60 / 36)
    assert told["left_s"] == pytest.approx((100 - 40 - 30) * 36)
    assert told["stages"]["speech"]["media_s"] == 600.0
    title = str(progress.table().title)
    assert title == "measure: 100 videos, 40 known, 100 an hour, 18:00 left"
    assert list(progress.table().columns[3].cells)[1] == "18:00"


def test_progress_knows_no_time_left_only_while_something_is_left() -> None:
    progress = Progress(None)
    with progress.phase("measure", ["probe"], total=2, known=1):
        assert progress.snapshot()["left_s"] is None
        progress.measured(timing("v000", "probe", remembered=True))
        assert progress.snapshot()["left_s"] == 0.0


def test_progress_tells_suspects_the_last_of_them() -> None:
    progress = Progress(None)
    with progress.phase("measure", ["probe"], total=50):
        for video in videos(50):
            progress.started(video, "probe")
            progress.suspected(video, "probe", "signal SIGSEGV")
        told = progress.snapshot()
    assert (told["suspects"]["count"], len(told["suspects"]["last"])) == (50, 20)
    last = {"video_id": "v049", "stage": "probe", "died": "signal SIGSEGV"}
    assert told["suspects"]["last"][-1] == last
    assert told["now"] == []


def test_progress_keeps_nothing_of_videos_that_ended(clock_of_test: Clock) -> None:
    progress = Progress(None)
    some = videos(7)
    with progress.phase("measure", ["probe", "speech"], total=10**6):
        for n in range(20_000):
            video = dataclasses.replace(some[n % 7], video_id=f"v{n}")
            outcome = ("pending", "rejected", "failed")[n % 3]
            progress.started(video, "probe")
            progress.measured(timing(video.video_id, "probe", outcome))
            if outcome == "pending":
                progress.started(video, "speech")
                progress.measured(timing(video.video_id, "speech"))
            clock_of_test.at += 1
        assert len(progress._now) == 0
        assert len(progress._pace._samples) <= RECENT_S / SAMPLE_S + 2
        assert progress.snapshot()["ended"] == 20_000
        assert progress.snapshot()["rates"]["recent_videos_per_h"] == pytest.approx(3600, rel=0.02)


def test_progress_snapshot_is_whole_while_others_count() -> None:
    progress, over, faults = Progress(None), threading.Event(), []

    def looks() -> None:
        while not over.is_set():
            try:
                told = progress.snapshot()
                progress.table()
                done = told.get("stages", {}).get("probe", {}).get("done", 0)
                assert told.get("ended", 0) == done
            except Exception as error:
                faults.append(error)

    watcher = threading.Thread(target=looks)
    watcher.start()
    for _ in range(20):
        with progress.phase("measure", ["probe"], total=200):
            for video in videos(200):
                progress.started(video, "probe")
                progress.measured(timing(video.video_id, "probe"))
    over.set()
    watcher.join()
    assert faults == []


def test_pace_of_the_last_minutes_forgets_what_was_before(clock_of_test: Clock) -> None:
    pace = Pace()

    def goes(videos: int, every_s: float) -> dict[str, Any]:
        for _ in range(videos):
            clock_of_test.at += every_s
            pace.end(True, 60.0)
        return pace.rates()

    assert goes(100, 10.0)["recent_videos_per_h"] == pytest.approx(360, rel=0.05)
    told = goes(40, 100.0)
    assert told["recent_videos_per_h"] == pytest.approx(36, rel=0.05)
    assert told["recent_media_h_per_h"] == pytest.approx(0.6, rel=0.05)
    assert told["videos_per_h"] == pytest.approx(140 / 5000 * 3600)
    assert pace_module.HOUR_S == 3600.0
    clock_of_test.at += 2 * RECENT_S
    assert pace.rates()["recent_videos_per_h"] == pytest.approx(0, abs=10)
