"""Captioned clips: their index from headers alone, and the manners of windows."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.store import Store
from reelscript.reading.captioned import Captioned, one_in_each, open_captioned
from reelscript.reading.faults import Damaged

from .corpus_made import LEVELS
from .test_corpus import in_memory
from .windows_made import mp4_of

SMALL: dict[str, Any] = {"frames": 4, "px": 16}
CLIP = mp4_of(20, 20)


def write_tar(
    path: Path, members: Sequence[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1700000000.25  # type: ignore[assignment]
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 + 1 + 4 clips, with text, with JSON, and with both."""
    folder = tmp_path_factory.mktemp("captioned") / "webvid"
    for tar, count in enumerate([5, 1, 4]):
        members = []
        for n in range(count):
            key = f"{tar:05d}{n:04d}"
            caption, meta = f"clip {key}".encode(), json.dumps({"caption": f"clip {key}"}).encode()
            members += [(f"{key}.json", meta)] if tar != 1 else []
            members += [(f"{key}.mp4", CLIP)]
            members += [(f"{key}.txt", caption)] if tar != 2 else []
        kind = tarfile.PAX_FORMAT if tar else tarfile.GNU_FORMAT
        write_tar(folder / f"{tar:05d}.tar", members, kind)
    return folder


def captioned(folder: Path, **changes: Any) -> Captioned:
    return open_captioned(folder, **(SMALL | changes))


def test_captioned_each_comes_once_with_its_caption(tars: Path) -> None:
    read = captioned(tars)
    steps = list(read)
    assert len(steps) == len(read) == 10
    assert {step["text"][0] for step in steps} == {f"clip {step['key']}" for step in steps}
    assert len({step["key"] for step in steps}) == 10
    assert steps[0]["frames"].shape == (4, 16, 16, 3)
    assert steps[0]["segments_s"].shape == (1, 2)
    assert read.refused == {"missing_member": 0, "doubled_member": 0, "empty_caption": 0}


def test_captioned_frames_are_one_in_each_interval(tars: Path) -> None:
    for step in captioned(tars):
        grey = step["frames"].astype(float).mean((1, 2, 3)) * 219 / 255
        numbers = [round(level / LEVELS) for level in grey]
        assert [number // 5 for number in numbers] == [0, 1, 2, 3]
        assert np.allclose(step["times_s"] * 10, numbers)
    middle = next(iter(captioned(tars, random=False)))
    assert np.allclose(middle["times_s"] * 10, [2, 7, 12, 17])


@given(st.integers(1, 40), st.integers(1, 16), st.none() | st.integers(0, 9))
def test_captioned_one_in_each(total: int, count: int, seed: int | None) -> None:
    chosen = one_in_each(total, count, None if seed is None else np.random.default_rng(seed))
    for k, number in enumerate(chosen):
        assert 0 <= number < total
        assert k * total / count - 1 < number < (k + 1) * total / count
    assert chosen == sorted(chosen)


def test_captioned_ranks_and_resume_as_windows_have_them(tars: Path) -> None:
    ranks = [captioned(tars, rank=rank, world=3, equal="pad") for rank in range(3)]
    read = [[step["key"] for step in rank] for rank in ranks]
    assert [len(keys) for keys in read] == [4, 4, 4]
    assert len({key for keys in read for key in keys}) == 10
    whole = captioned(tars, batch_size=2)
    uncut = [*whole, *whole]
    cut = captioned(tars, batch_size=2)
    steps = iter(cut)
    next(steps)
    next(steps)
    on = captioned(tars, batch_size=2)
    on.load_state_dict(cut.state_dict())
    rest = [*on, *on]
    assert [step["key"] for step in rest] == [step["key"] for step in uncut[2:]]
    assert all((a["frames"] == b["frames"]).all() for a, b in zip(rest, uncut[2:], strict=True))


def test_captioned_index_reads_headers_only(tars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = tars.parent / "big"
    write_tar(big / "a.tar", [("k.mp4", bytes(10**6)), ("k.txt", b"big"), ("l.mp4", bytes(10**6))])
    read = 0
    get_range = Store.get_range

    def counted(store: Store, name: str, offset: int, size: int) -> bytes:
        nonlocal read
        read += size
        return get_range(store, name, offset, size)

    monkeypatch.setattr(Store, "get_range", counted)
    assert captioned(big).refused["missing_member"] == 1
    assert read < 10**5


def test_captioned_index_is_remembered_until_a_tar_changes(tars: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = tmp_path / "webvid"
    write_tar(folder / "a.tar", [("k.mp4", CLIP), ("k.txt", b"one"), ("l.mp4", CLIP)])
    first = captioned(folder, cache=str(cache))
    data = (folder / "a.tar").read_bytes()
    (folder / "a.tar").write_bytes(bytes(len(data)))  # the same size: not looked at again
    again = captioned(folder, cache=str(cache))
    assert again.refused == first.refused == dict(first.refused, missing_member=1)
    assert again.identity == first.identity
    write_tar(folder / "a.tar", [("k.mp4", CLIP), ("k.txt", b"one"), ("m.mp4", CLIP * 20)])
    (next(cache.iterdir())).write_bytes(b"damaged")
    assert len(captioned(folder, cache=str(cache))) == 1
    assert len(list(cache.iterdir())) == 2


def test_captioned_from_other_places(tars: Path, tmp_path: Path) -> None:
    keys = [step["key"] for step in captioned(tars)]
    assert [step["key"] for step in open_captioned(in_memory(tars), **SMALL)] == keys
    one = open_captioned(tars / "00002.tar", **SMALL)
    assert {step["key"][:5] for step in one} == {"00002"}
    some = open_captioned(f"{tars}/*2.tar", **SMALL)
    assert len(some) == 4
    with pytest.raises(DataError, match="there is no tar at"):
        open_captioned(tars / "train-*.tar")
    with pytest.raises(DataError, match="there is no folder"):
        open_captioned(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="did you mean 'frames'"):
        open_captioned(tars, frame=3)


def test_captioned_what_is_no_clip_is_refused_and_counted(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "t" / "a.tar",
        [
            ("good.mp4", CLIP),
            ("good.txt", "ein Satz\nmit ä".encode()),
            ("sub/good.mp4", CLIP),  # another clip: names count with their folders
            ("sub/good.txt", b"another"),
            ("alone.mp4", CLIP),
            ("silent.mp4", CLIP),
            ("silent.txt", b""),
            ("twice.mp4", CLIP),
            ("twice.txt", b"a"),
            ("twice.mp4", CLIP),
            ("other.jpg", b"x"),
        ],
    )
    read = captioned(tmp_path / "t")
    assert {step["key"]: step["text"] for step in read} == {
        "good": ["ein Satz mit ä"],
        "sub/good": ["another"],
    }
    assert read.refused == {"missing_member": 2, "doubled_member": 1, "empty_caption": 1}


@pytest.mark.parametrize(
    ("member", "data", "kind"),
    [
        ("k.txt", b" \n ", "no_caption"),
        ("k.txt", b"\xff\xfe", "no_caption"),
        ("k.json", b"{}", "no_caption"),
        ("k.json", b"[1]", "no_caption"),
        ("k.json", b'{"caption": NaN}', "no_caption"),
        ("k.json", b"{", "no_caption"),
    ],
)
def test_captioned_without_words_are_faults(
    tmp_path: Path, member: str, data: bytes, kind: str
) -> None:
    good = [(f"g{n}.{x}", d) for n in range(4) for x, d in (("mp4", CLIP), ("txt", b"words"))]
    write_tar(tmp_path / "t" / "a.tar", [("k.mp4", CLIP), (member, data), *good])
    with pytest.raises(Damaged, match=r"k in a\.tar has no caption"):
        list(captioned(tmp_path / "t"))
    read = captioned(tmp_path / "t", on_fault="skip", max_faults=0.5)
    assert len(list(read)) == 5
    assert read.faults == Counter({kind: read.faults.total()})


def test_captioned_damage_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "t" / "a.tar", [("k.mp4", b"no video"), ("k.txt", b"words")])
    with pytest.raises(Damaged, match=r"k in a\.tar: the mp4 does not decode"):
        list(captioned(tmp_path / "t"))
    (tmp_path / "t" / "a.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(DataError, match=r"a\.tar is no whole tar"):
        captioned(tmp_path / "t")
    write_tar(tmp_path / "t" / "a.tar", [("k.mp4", CLIP), ("k.txt", b"w"), ("l.mp4", CLIP)])
    whole = (tmp_path / "t" / "a.tar").read_bytes()
    (tmp_path / "t" / "a.tar").write_bytes(whole[: len(CLIP) + 3000])
    with pytest.raises(DataError, match=r"a\.tar is no whole tar"):
        captioned(tmp_path / "t")
