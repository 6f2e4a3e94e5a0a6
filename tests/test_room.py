"""The room of the work folder: what is counted, when no further source is taken, what is said."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.jobs import cli
from reelscript.jobs import room as room_module
from reelscript.jobs.config import load_config
from reelscript.jobs.room import KEPT, Room, Work
from reelscript.pipeline.errors import StorageError, UsageError
from reelscript.pipeline.ledger import ENCODED, Ledger, Row
from reelscript.pipeline.stage import Timing
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.acquire import Acquire, AcquireForNow
from tests.built import MODELS, needs_models, rows
from tests.keep_made import LOCAL, Peak, Server, bytes_in, kept_as, padded, serving

KB = 1000


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Scratch lies in the work folder, as in a build on a local disk."""
    return Workspace(Store(str(tmp_path / "work")), tmp_path / "work" / "scratch")


def a_video(number: int, url: bool = True) -> Video:
    where = f"http://example.org/{number}.mp4" if url else f"/films/{number}.mp4"
    return Video(video_id=f"v{number}", url=where, location=where, position=number)


def fetched(video: Video, size_bytes: int) -> Video:
    return replace(video, source_bytes=size_bytes, media="0" * 64)


def timing(video: Video, stored_bytes: int) -> Timing:
    return Timing(video.video_id, "acquire", 0.0, 0.0, False, "pending", None, stored_bytes)


def begin(room: Room, *videos: Video) -> None:
    for _ in room.counted(videos):
        pass


def test_room_without_a_limit_is_always_open(workspace: Workspace) -> None:
    room = Room(Work(), workspace)
    begin(room, *(a_video(n) for n in range(1000)))
    assert room.open()


def test_room_takes_one_source_until_it_knows_how_large_they_are(workspace: Workspace) -> None:
    room, first = Room(Work(max_bytes=100 * KB), workspace), a_video(0)
    assert room.open()
    begin(room, first)
    assert not room.open()
    room.started(first)  # acquire begins: its size is not known
    assert not room.open()
    room.started(fetched(first, 30 * KB))
    assert room.open()


def test_room_counts_those_to_come_as_large_as_those_before(workspace: Workspace) -> None:
    """Of 100 kB: 30 stored, then two to come of 30 each leave no room for a fourth."""
    room, videos = Room(Work(max_bytes=100 * KB), workspace), [a_video(n) for n in range(3)]
    begin(room, videos[0])
    room.stored(timing(videos[0], 30 * KB))
    room.started(fetched(videos[0], 30 * KB))
    begin(room, videos[1])
    assert room.open()
    begin(room, videos[2])
    assert not room.open()
    room.ended(videos[2])  # it could not be fetched
    assert room.open()
    room.stored(timing(videos[1], 60 * KB))  # twice as large as the first
    room.started(fetched(videos[1], 60 * KB))
    assert not room.open()
    room.ended(videos[0])
    room.ended(videos[1])
    assert not room.open()  # both are kept


def test_room_does_not_count_a_source_in_scratch_twice(workspace: Workspace) -> None:
    room = Room(Work(keep="none", max_bytes=100 * KB), workspace)
    one, other = a_video(0), a_video(1)
    begin(room, one)
    path = workspace.scratch_of(one) / "media"
    path.write_bytes(bytes(40 * KB))
    room.started(fetched(one, 40 * KB))
    begin(room, other)
    (workspace.scratch_of(other) / ".part").write_bytes(bytes(15 * KB))  # half fetched
    assert not room.open()  # 40 + 40 + 40 to come
    workspace.forget_scratch(one)
    room.ended(one)
    assert room.open()  # 40 + 40 to come: nothing of the first is left


def test_room_counts_sources_that_pass_from_machine_to_machine(tmp_path: Path) -> None:
    """They lie in the work folder as long as their videos are in work, though none is kept."""
    apart = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch", passing=True)
    room, one, other = Room(Work(keep="none", max_bytes=100 * KB), apart), a_video(0), a_video(1)
    begin(room, one)
    assert not room.open()  # nobody knows how large sources are
    room.started(fetched(one, 40 * KB))
    assert room.open()
    begin(room, other)
    assert not room.open()  # 40 + 40 + 40 to come
    room.started(fetched(other, 40 * KB))
    assert not room.open()
    room.ended(one)
    assert room.open()


def test_room_counts_the_sound_in_scratch(workspace: Workspace) -> None:
    room, video = Room(Work(max_bytes=100 * KB), workspace), a_video(0, url=False)
    begin(room, video)
    (workspace.scratch_of(video) / "audio-16k.npy").write_bytes(bytes(120 * KB))
    assert not room.open()
    workspace.forget_scratch(video)
    room.ended(video)
    assert room.open()


def test_room_expects_nothing_of_local_files(workspace: Workspace) -> None:
    room = Room(Work(max_bytes=100 * KB), workspace)
    videos = [a_video(n, url=False) for n in range(500)]
    begin(room, *videos)
    for video in videos:
        room.started(replace(video, source_bytes=50 * KB))
    assert room.open()
    assert not workspace.store.exists(KEPT)


def test_room_expects_nothing_where_sources_lie_on_another_disk(tmp_path: Path) -> None:
    room = Room(
        Work(keep="none", max_bytes=100 * KB),
        Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch"),
    )
    begin(room, *(a_video(n) for n in range(500)))
    assert room.open()


@settings(deadline=None)  # it writes files
@given(
    st.lists(
        st.tuples(st.booleans(), st.none() | st.integers(1, 50), st.integers(0, 80)), max_size=8
    ),
    st.integers(1, 500),
)
def test_room_is_open_as_a_sum_over_all_videos_in_work_says(
    begun: list[tuple[bool, int | None, int]], max_bytes: int
) -> None:
    """Of each video: whether it is fetched, how large it was found, what scratch has of it."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Store(folder), Path(folder) / "scratch")
        room = Room(Work(keep="none", max_bytes=max_bytes), workspace)
        for n, (url, size, scratch) in enumerate(begun):
            begin(room, a_video(n, url))
            if scratch:
                (workspace.scratch_of(a_video(n)) / "media").write_bytes(bytes(scratch))
            if size is not None:
                room.started(fetched(a_video(n, url), size))
        (workspace.scratch_of(a_video(9999)) / "media").write_bytes(bytes(7))  # of no video in work
        sizes = [size for url, size, _ in begun if url and size is not None]
        usual = sum(sizes) // max(1, len(sizes))
        to_come = [url and size is None for url, size, _ in begun]
        held = sum(
            max(scratch, usual if coming else 0)
            for (*_, scratch), coming in zip(begun, to_come, strict=True)
        )
        unknown = any(to_come) and not sizes
        assert room.open() == (not unknown and held + usual < max_bytes)


def test_room_asked_for_each_video_of_a_wave_looks_only_at_those_begun_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []

    def bytes_of(folder: Path) -> int:
        looked.append(folder)
        return 1 * KB

    monkeypatch.setattr(room_module, "_bytes_in", bytes_of)
    room, wave = Room(Work(max_bytes=100_000 * KB), workspace), [a_video(n) for n in range(3000)]
    begin(room, wave[0])
    room.started(fetched(wave[0], 30 * KB))
    workspace.scratch_of(wave[0])
    for video in wave[1:]:
        assert room.open()
        begin(room, video)
    assert Counter(looked) == {workspace.scratch / "v0": 2999}


def test_room_knows_what_lay_there_before(workspace: Workspace) -> None:
    workspace.put(bytes(101 * KB))
    room = Room(Work(max_bytes=100 * KB), workspace)
    assert not room.open()
    said = r"holds 101,000 bytes, and work.max_bytes is 100,000: .* or set work.keep to"
    with pytest.raises(StorageError, match=said):
        room.stuck()


def test_room_takes_a_source_that_may_not_fit_if_nothing_else_is_in_work(
    workspace: Workspace,
) -> None:
    room, video = Room(Work(keep="none", max_bytes=100 * KB), workspace), a_video(0)
    begin(room, video)
    room.started(fetched(video, 300 * KB))
    room.ended(video)
    assert not room.open()
    begin(room, a_video(1))
    room.stuck()  # says nothing: one at a time
    room.stored(timing(video, 101 * KB))
    workspace.put(bytes(99 * KB))  # two workers made one thing, and both counted it
    room.stuck()
    workspace.put(bytes(2 * KB))
    room.stored(timing(video, 2 * KB))
    with pytest.raises(StorageError):
        room.stuck()


def test_room_of_a_folder_that_keeps_no_more_lets_go_before_it_gives_up(
    workspace: Workspace,
) -> None:
    kept = _kept_sources(workspace, 3, 40 * KB)
    room = Room(Work(keep="none", max_bytes=100 * KB), workspace)
    assert not room.open()
    room.stuck()
    assert room.open()
    assert not any(workspace.has(media) for media in kept)
    assert not workspace.store.exists(KEPT)


def test_room_keeps_a_source_that_is_its_own_proxy(workspace: Workspace) -> None:
    small, large = _kept_sources(workspace, 2, 40 * KB)
    with Ledger(workspace.store, ENCODED) as ledger:
        ledger.add(Row("chain", replace(a_video(0), proxy=small)))
        ledger.add(Row("chain", replace(a_video(1), proxy="f" * 64)))
    Room(Work(keep="proxy"), workspace).let_go()
    assert (workspace.has(small), workspace.has(large)) == (True, False)


def test_room_lets_go_of_nothing_that_is_to_be_kept(workspace: Workspace) -> None:
    kept = _kept_sources(workspace, 2, 40 * KB)
    Room(Work(), workspace).let_go()
    assert all(workspace.has(media) for media in kept)


def _kept_sources(workspace: Workspace, count: int, size_bytes: int) -> list[str]:
    """Sources as a build with `work.keep=source` leaves them, beside results about local files."""
    room = Room(Work(), workspace)
    kept = []
    for n, video in enumerate([a_video(n) for n in range(count)]):
        begin(room, video)
        kept.append(workspace.put(bytes([n]) * size_bytes))
        workspace.remember("acquire", f"{n:02d}a", {"facts": {"media": kept[-1]}, "cpu_s": 0.1})
        workspace.remember("acquire", f"{n:02d}b", {"facts": {"media": None}, "cpu_s": 0.1})
    workspace.store.put("results/acquire/00/damaged.json", b"[1, 2")
    return kept


# Whole builds.


@pytest.fixture
def server() -> Iterator[Server]:
    """Twelve videos of 500 kB that are rejected as soon as they are probed."""
    with serving(["silent.mp4"]) as found:
        media = found.files.pop("silent.mp4")
        found.files = {f"{n}.mp4": padded(media, 500 * KB, n) for n in range(12)}
        yield found


@needs_models
def test_room_of_a_build_that_keeps_nothing_is_bounded(server: Server, tmp_path: Path) -> None:
    listed, work = server.listed(tmp_path / "list.txt"), tmp_path / "none.work"
    with Peak(work) as seen:
        made, _ = kept_as("none", listed, tmp_path, "work.max_bytes=1MB")
    assert made.dataset["counts"]["rejected"] == 12
    assert server.asked() == dict.fromkeys(server.files, 1)
    assert 500 * KB <= seen.peak_bytes < 1000 * KB + 2 * 500 * KB + 100 * KB  # two workers
    assert bytes_in(work) < 100 * KB


@needs_models
def test_room_of_a_build_that_keeps_all_ends_in_one_sentence_and_goes_on(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, out = server.listed(tmp_path / "list.txt"), tmp_path / "source"

    def build(max_bytes: str) -> int:
        said = [*MODELS, LOCAL, f"work.max_bytes={max_bytes}"]
        options = [option for text in said for option in ("--set", text)]
        with pytest.raises(SystemExit) as end:
            cli.main(["build", str(listed), "--out", str(out), "--workers", "2", *options])
        return int(end.value.code or 0)

    assert build("2MB") == 1
    error = capsys.readouterr().err
    assert "work.max_bytes is 2,000,000: no source is begun; what was finished is saved" in error
    assert "Traceback" not in error
    first = server.asked()
    assert 3 <= len(first) <= 5
    assert bytes_in(tmp_path / "source.work") < 2000 * KB + 2 * 500 * KB + 100 * KB
    assert build("20MB") == 0
    later = server.asked()
    assert not first.keys() & later.keys()  # nothing is fetched twice
    assert {**first, **later} == dict.fromkeys(server.files, 1)
    assert {row["outcome"] for row in rows(out, "videos")} == {"rejected"}


# The config.


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("work.max_bytes=0", "greater than or equal to 1"),
        ("work.max_bytes=-5", "greater than or equal to 1"),
        ("work.max_bytes=much", "expected bytes such as 512MB"),
        ("work.max_bytes=1.5", "work.max_bytes"),
    ],
)
def test_room_refuses_a_limit_that_is_none(said: str, answer: str) -> None:
    with pytest.raises(UsageError, match=answer):
        load_config(None, ["videos"], [said])


@pytest.mark.parametrize("keep", ["source", "none", "proxy"])
def test_room_settings_change_nothing_of_what_is_measured(keep: str) -> None:
    """Another word for `work.keep`: nothing is fetched, let alone transcribed again."""
    said = ["acquire.max_bytes=5MB", "acquire.retries=1"]
    usual = load_config(None, ["videos"], said)
    other = load_config(None, ["videos"], [*said, f"work.keep={keep}", "work.max_bytes=1GB"])
    for one, two in zip(usual.measuring(), other.measuring(), strict=True):
        assert (one.name, one.version, vars(one)) == (two.name, two.version, vars(two))
    video = a_video(0)
    first = other.measuring()[0]
    assert first.key(video) == usual.acquire.key(video)
    assert isinstance(first, Acquire)
    assert (first.max_bytes, first.retries) == (5 * KB * KB, 1)
    assert isinstance(first, AcquireForNow) == (keep != "source")
