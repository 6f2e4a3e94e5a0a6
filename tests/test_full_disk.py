"""Builds on disks that really run full: a small tmpfs in a mount namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reelscript.pipeline.errors import StorageError
from reelscript.pipeline.ledger import ENCODED, MEASURED, Ledger
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms.scratch_audio import scratch_audio
from tests.built import EXAMPLES, MODELS, ROOT, needs_models, rows, shard_bytes
from tests.keep_made import OF_MEDIA

KIB = 1024
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
BOTH = """
set -e
disk=$1 size=$2 seed=$3 to=$4; shift 4
mount -t tmpfs -o size="$size" tmpfs "$disk"
cp -r "$seed" "$disk/work"
set +e
"$@" >"$to/first.out" 2>"$to/first.err"; echo $? >"$to/first.code"
cp -r "$disk" "$to/full"
mount -o remount,size=256m "$disk"
"$@" >"$to/second.out" 2>"$to/second.err"; echo $? >"$to/second.code"
cp -r "$disk" "$to/free"
"""


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(
    not _may_mount(), reason="this machine lets nobody mount a tmpfs in a namespace of his own"
)


def built_on_small_disk(
    tmp_path: Path, size_bytes: int, seed: Path, out: str, work: str
) -> tuple[Path, Path, str]:
    """Returns the disk when it was full, and later with room, and what was said when it was full.

    Args:
        tmp_path: for the disk, and for copies of it.
        size_bytes: of the disk.
        seed: a folder that lies on it as `work` when the build begins.
        out: the corpus. work: the work folder. `@` stands for the disk.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    options = [*MODELS, f"work.folder={work.replace('@', str(disk))}"]
    command = [
        *(sys.executable, "-m", "reelscript.jobs.cli", "build", str(EXAMPLES)),
        *("--out", out.replace("@", str(disk)), "--workers", "2"),
        *(option for text in options for option in ("--set", text)),
    ]
    given = [str(disk), str(size_bytes), str(seed), str(tmp_path), *command]
    subprocess.run([*NAMESPACE, "sh", "-c", BOTH, "sh", *given], check=True, cwd=ROOT)
    said = (tmp_path / "first.err").read_text()
    assert (tmp_path / "first.code").read_text().strip() == "1", said
    assert (tmp_path / "second.code").read_text().strip() == "0"
    return tmp_path / "full", tmp_path / "free", said


def check(said: str, work: Path) -> None:
    """Checks what was said when the disk was full, and that no video is blamed."""
    assert "Traceback" not in said
    (sentence,) = [line for line in said.splitlines() if line.startswith("reelscript: ")]
    assert "the disk is full" in sentence
    for folder in (MEASURED, ENCODED):
        known = Ledger(Store(str(work)), folder).latest(("outcome",))
        assert "failed" not in known["outcome"].to_pylist()


def check_same(corpus: Path, undisturbed: Path) -> None:
    for table in ("videos", "clips", "samples"):
        assert rows(corpus, table) == rows(undisturbed, table)
    assert shard_bytes(corpus) == shard_bytes(undisturbed)


@needs_models
@needs_mounts
@pytest.mark.parametrize("free_bytes", [60 * KIB, 400 * KIB, 900 * KIB])
def test_full_disk_of_the_work_folder_is_one_sentence_and_a_clean_stop(
    free_bytes: int, demo_corpus: Path, tmp_path: Path
) -> None:
    """Nothing is encoded yet; what was transcribed lies there already."""
    seed = tmp_path / "seed"
    shutil.copytree(f"{demo_corpus}.work", seed, ignore=lambda *_: OF_MEDIA)
    shutil.rmtree(seed / "ledger")
    for mp4 in [p for p in (seed / "objects").rglob("*") if _is_mp4(p)]:
        mp4.unlink()
    corpus = tmp_path / "corpus"
    size_bytes = _blocks_bytes(seed) + free_bytes
    full, free, said = built_on_small_disk(tmp_path, size_bytes, seed, str(corpus), "@/work")
    check(said, full / "work")
    check_same(corpus, demo_corpus)
    left = [p.name for p in (free / "work").iterdir() if p.name.startswith((".part", "scratch"))]
    assert left == []


@needs_models
@needs_mounts
@pytest.mark.parametrize("size_bytes", [60 * KIB, 1000 * KIB, 2250 * KIB])
def test_full_disk_of_the_corpus_is_one_sentence_and_a_clean_stop(
    size_bytes: int, demo_corpus: Path, tmp_path: Path
) -> None:
    work, seed = tmp_path / "made.work", tmp_path / "seed"
    shutil.copytree(f"{demo_corpus}.work", work)
    seed.mkdir()
    full, free, said = built_on_small_disk(tmp_path, size_bytes, seed, "@/corpus", str(work))
    check(said, work)
    assert not (full / "corpus" / "dataset.json").exists()
    check_same(free / "corpus", demo_corpus)


def _is_mp4(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[4:8] == b"ftyp"


def _blocks_bytes(folder: Path) -> int:
    """Returns what a tmpfs takes for the files of a folder: whole pages."""
    page = os.sysconf("SC_PAGE_SIZE")
    sizes = [p.stat().st_size for p in folder.rglob("*") if p.is_file()]
    return sum(-(-size // page) * page for size in sizes)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_is_what_a_sound_file_that_cannot_be_written_is_about(tmp_path: Path) -> None:
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")
    garden = str(EXAMPLES / "garden.mp4")
    video = Video(
        video_id="v",
        url="garden.mp4",
        location=garden,
        audio_stream=1,
        start_s=0.0,
        duration_s=54.0,
    )
    part = workspace.scratch_of(video) / f".part-{os.getpid()}.npy"
    part.symlink_to("/dev/full")
    with pytest.raises(StorageError, match="the disk is full"):
        scratch_audio(video, workspace)
    part.unlink()
    assert len(scratch_audio(video, workspace)) == 54 * 16_000
