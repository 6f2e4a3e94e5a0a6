import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reelscript.pipeline.engines.node_scratch import held_folder, node_folder, station_folder
from reelscript.pipeline.errors import StorageError, UsageError


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders lie, for this process and those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    monkeypatch.undo()
    tempfile.tempdir = None


def folders(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_node_folder_is_there_as_long_as_somebody_holds_it(place: Path) -> None:
    with ExitStack() as first, ExitStack() as second:
        folder = first.enter_context(node_folder("run-7"))
        assert folder == place / f"reelscript-{os.getuid()}-run-7"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert second.enter_context(node_folder("run-7")) == folder
        mine, other = (held.enter_context(station_folder(folder)) for held in (first, second))
        assert mine != other
        (mine / "v000").mkdir()
        first.close()
        assert other.is_dir()
        assert not mine.exists()
    assert folders(place) == []


def test_node_folders_of_two_runs_leave_each_other_alone(place: Path) -> None:
    with node_folder("one") as one:
        with node_folder("two") as two:
            assert one != two
        assert one.is_dir()
        assert not two.exists()
    assert folders(place) == []


def dies(run_name: str, ready: Any) -> None:
    with node_folder(run_name) as node, station_folder(node) as own:
        (own / "audio").write_bytes(b"0" * 99)
        ready.send(str(own))
        ready.recv()


def killed(run_name: str) -> Path:
    """The folder of a station that was killed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=dies, args=(run_name, theirs))
    process.start()
    own = Path(ours.recv())
    process.kill()
    process.join()
    assert (own / "audio").exists()
    return own


def test_node_folder_of_a_killed_run_is_removed_by_the_next(place: Path) -> None:
    killed("dead")
    with node_folder("next") as node:
        assert folders(place) == [node.name]


def test_station_folder_of_a_killed_station_is_removed_by_the_next() -> None:
    with node_folder("run") as node, station_folder(node) as living:
        dead = killed("run")
        with station_folder(node):
            assert not dead.exists()
            assert living.is_dir()


def test_node_folder_leaves_what_it_does_not_know(place: Path) -> None:
    strange = place / f"reelscript-{os.getuid()}-of-a-person"
    strange.mkdir()
    (strange / "thesis").touch()
    with node_folder("run"):
        pass
    assert (strange / "thesis").exists()


@pytest.mark.parametrize("name", ["", "../run", "a/b", "a b", ".", "x" * 81, "run\n"])
def test_node_folder_refuses_names_that_are_no_folder_of_its_own(place: Path, name: str) -> None:
    with pytest.raises(UsageError, match="a run cannot be called"), node_folder(name):
        pass
    assert folders(place) == []


def test_node_folder_is_not_taken_from_somebody_else(place: Path) -> None:
    name = f"reelscript-{os.getuid()}-run"
    (place / "elsewhere").mkdir()
    (place / name).symlink_to(place / "elsewhere")
    with pytest.raises(StorageError, match="is in the way"), node_folder("run"):
        pass
    assert folders(place / "elsewhere") == []
    (place / name).unlink()
    (place / name).touch()
    with pytest.raises(StorageError, match="is in the way"), node_folder("run"):
        pass


def test_held_folder_survives_that_others_come_and_go(place: Path) -> None:
    """Whoever finds the folder removed just as it arrives makes a new one."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        found = pool.starmap(comes_and_goes, [(place / "shared", 150)] * 3)
        pool.close()
        pool.join()
    assert found == [150] * 3
    assert folders(place) == []


def comes_and_goes(folder: Path, times: int) -> int:
    """How often the folder, once held, was there as long as it was held."""
    good = 0
    for n in range(times):
        with held_folder(folder):
            own = folder / f"{os.getpid()}-{n}"
            own.touch()
            good += own.exists()
            own.unlink()
    return good
