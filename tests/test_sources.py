"""Where videos come from: lists, folders, globs, URLs, and names that mean harm."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import random
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from w3lib.url import canonicalize_url

from reelscript.jobs.sources.language_codes import language_code
from reelscript.jobs.sources.listing import list_sources as listed_columns
from reelscript.jobs.sources.metadata import metadata_text
from reelscript.pipeline.errors import UsageError
from reelscript.schemas.tables import VIDEOS
from reelscript.schemas.text import canonical_json
from reelscript.schemas.video import Video
from reelscript.transforms.acquire import Acquire
from reelscript.transforms.urls import (
    canonical_url,
    is_plain,
    published_url,
    scheme_of,
    without_credentials,
    youtube_id,
)

ENDINGS = [
    "mp4",
    "m4v",
    "mov",
    "mkv",
    "webm",
    "avi",
    "mpg",
    "mpeg",
    "ts",
    "flv",
    "3gp",
    "ogv",
    "wmv",
]
TUBE = "dQw4w9WgXcQ"


def hashed(text: str | bytes) -> str:
    """The id that the contract gives: written down here again, on purpose."""
    data = text.encode() if isinstance(text, str) else text
    return "x_" + hashlib.sha256(data).hexdigest()[:16]


def make(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes([number]))


def list_sources(sources: str | Sequence[str], base: Path) -> list[Video]:
    return list(listed_columns(sources, base))


def urls(videos: list[Video]) -> list[str]:
    return [v.url for v in videos]


def listed(tmp_path: Path, text: str, name: str = "list.txt") -> list[Video]:
    (tmp_path / name).write_bytes(text.encode())
    return list_sources(name, tmp_path)


def check(videos: list[Video]) -> None:
    """What holds for every listing."""
    assert [v.position for v in videos] == list(range(len(videos)))
    ids = [v.video_id for v in videos]
    assert len(set(ids)) == len(ids)
    for video in videos:
        assert re.fullmatch(r"[A-Za-z0-9_-]+", video.video_id)
        published = [getattr(video, name) for name in VIDEOS.names if hasattr(video, name)]
        for text in (p for p in published if isinstance(p, str)):
            text.encode()
            assert text.isprintable() or all(c.isprintable() or c.isspace() for c in text)
            assert "\n" not in text
        if scheme_of(video.location) is None and video.outcome == "pending":
            assert not video.url.startswith("/")
            assert ".." not in video.url.split("/")
        assert (video.outcome == "pending") == (video.reason is None) == (video.stage is None)
        if video.reason:
            assert video.stage == "acquire"


# Folders and globs.


def test_sources_in_a_folder_are_its_media_files_sorted(tmp_path: Path) -> None:
    names = [f"n{i}.{e.upper() if i % 2 else e}" for i, e in enumerate(ENDINGS)]
    make(tmp_path, *names, "b/z.mp4", "b/a/y.mkv", "B/x.mov", "a b/c.mp4", ".hidden/d.mp4")
    make(tmp_path, "notes.txt", "a.mp4.part", "mp4", "c.srt", "d.mp4/inside.webm")
    videos = list_sources(str(tmp_path), tmp_path)
    check(videos)
    found = [*names, "b/z.mp4", "b/a/y.mkv", "B/x.mov", "a b/c.mp4", ".hidden/d.mp4"]
    assert urls(videos) == sorted([*found, "d.mp4/inside.webm"], key=lambda n: n.split("/"))
    assert [v.video_id for v in videos] == [hashed(u) for u in urls(videos)]
    assert all(Path(v.location).is_file() and Path(v.location).is_absolute() for v in videos)
    assert {v.title for v in videos} >= {"n0", "z", "inside"}


def test_sources_in_a_folder_do_not_depend_on_how_it_is_named(tmp_path: Path) -> None:
    make(tmp_path, "v/a.mp4", "v/b/c.mp4")
    named = [str(tmp_path / "v"), "v", "./v/", "v/../v", f"{tmp_path}/v//"]
    found = [[(v.video_id, v.url) for v in list_sources(n, tmp_path)] for n in named]
    assert all(f == found[0] for f in found)


def test_sources_behind_links_to_outside_are_skipped(tmp_path: Path) -> None:
    make(tmp_path, "out/secret.mp4", "in/a/real.mp4", "in/z.mp4")
    inside = tmp_path / "in"
    (inside / "file.mp4").symlink_to(tmp_path / "out/secret.mp4")
    (inside / "folder").symlink_to(tmp_path / "out")
    (inside / "up").symlink_to("..")
    (inside / "loop").symlink_to(".")
    (inside / "gone.mp4").symlink_to("nothing")
    (inside / "again.mp4").symlink_to("a/real.mp4")
    os.mkfifo(inside / "pipe.mp4")
    for source in ("in", "in/**", "in/**/*.mp4"):
        videos = list_sources(source, tmp_path)
        check(videos)
        assert sorted(urls(videos)) == ["a/real.mp4", "again.mp4", "z.mp4"]
        assert sorted(v.outcome for v in videos) == ["pending", "pending", "rejected"]


def test_sources_of_a_glob_are_relative_to_its_fixed_part(tmp_path: Path) -> None:
    make(tmp_path, "v/1/a.mp4", "v/2/a.mp4", "v/2/b.MP4", "v/2/b.txt", "v/c.mp4", "w/1/a.mp4")
    assert urls(list_sources("v/*/*.mp4", tmp_path)) == ["1/a.mp4", "2/a.mp4"]
    assert urls(list_sources(str(tmp_path / "v/?/*"), tmp_path)) == [
        "1/a.mp4",
        "2/a.mp4",
        "2/b.MP4",
    ]
    assert urls(list_sources("*/c.mp4", tmp_path)) == ["v/c.mp4"]
    assert urls(list_sources("v/c.*", tmp_path)) == ["c.mp4"]
    make(tmp_path, "[x]/v/a.mp4")
    assert urls(list_sources("v/*", tmp_path / "[x]")) == ["a.mp4"]


def test_sources_in_brackets_are_files_before_they_are_globs(tmp_path: Path) -> None:
    make(tmp_path, "talk [abc].mp4", "talk a.mp4", "*.mp4")
    assert urls(list_sources("talk [abc].mp4", tmp_path)) == ["talk [abc].mp4"]
    assert urls(list_sources("*.mp4", tmp_path)) == ["*.mp4"]


def test_sources_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    make(tmp_path, "a/x.mp4", "b/x.mp4", "c/b/x.mp4", "d/c/b/x.mp4")
    videos = list_sources(["a", "b", "c/b", "d/c/b"], tmp_path)
    check(videos)
    assert urls(videos)[:3] == ["x.mp4", "b/x.mp4", urls(videos)[2]]
    assert re.fullmatch(r"b~[0-9a-f]{8}/x\.mp4", urls(videos)[2])
    assert all(v.outcome == "pending" for v in videos)
    assert [v.video_id for v in videos] == [hashed(u) for u in urls(videos)]
    assert videos == list_sources(["a", "b", "c/b", "d/c/b"], tmp_path)


# The same source twice.


def test_sources_listed_again_are_rows_of_their_own(tmp_path: Path) -> None:
    make(tmp_path, "v/a.mp4")
    os.link(tmp_path / "v/a.mp4", tmp_path / "v/b.mp4")
    videos = list_sources(["v", "v/a.mp4", "v/*.mp4", str(tmp_path / "v/../v/a.mp4")], tmp_path)
    check(videos)
    first = hashed("a.mp4")
    assert [v.video_id for v in videos] == [first, *(f"{first}_dup{n}" for n in range(1, 6))]
    for video in videos[1:]:
        assert (video.outcome, video.reason) == ("rejected", "duplicate_source")
        assert video.detail is not None
        assert first in video.detail
    assert "duplicate_source" in Acquire.rejects


def test_sources_with_one_canonical_url_are_one_source(tmp_path: Path) -> None:
    same = [
        "https://example.org/a/b.mp4?x=1&y=2",
        "HTTPS://Example.ORG:443/a/b.mp4?y=2&x=1#t=10",
        "https://user:word@example.org/a/b.mp4?y=2&x=1&utm_source=mail&fbclid=3&gclid=4",
        "https://example.org/a/%62.mp4?x=1&y=2&X-Amz-Signature=abc",
    ]
    other = ["http://example.org/a/b.mp4?x=1&y=2", "https://example.org:8443/a/b.mp4?x=1&y=2"]
    videos = listed(tmp_path, "\n".join([*same, *other, "https://example.org/A/b.mp4?x=1&y=2"]))
    check(videos)
    assert [v.outcome for v in videos] == ["pending", *["rejected"] * 3, *["pending"] * 3]
    assert videos[0].video_id == hashed(same[0])
    assert videos[2].location == same[2]  # fetched as written, published without its password
    assert not any("word" in v.url or "abc" in v.url for v in videos)


@pytest.mark.parametrize(
    "url",
    [
        f"https://www.youtube.com/watch?v={TUBE}",
        f"http://youtube.com/watch?t=3&v={TUBE}&list=PL1#x",
        f"https://m.youtube.com/watch/?v={TUBE}",
        f"https://music.youtube.com/watch?v={TUBE}",
        f"https://youtu.be/{TUBE}?si=abc",
        f"https://www.youtube.com/shorts/{TUBE}",
        f"https://www.youtube.com/embed/{TUBE}?start=1",
        f"https://www.youtube-nocookie.com/embed/{TUBE}",
        f"https://www.youtube.com/live/{TUBE}?feature=share",
        f"HTTPS://WWW.YOUTUBE.COM/watch?v={TUBE}",
    ],
)
def test_sources_on_youtube_have_its_id(tmp_path: Path, url: str) -> None:
    videos = listed(tmp_path, f"https://youtu.be/{TUBE}\n{url}\n")
    assert [v.video_id for v in videos] == [f"yt_{TUBE}", f"yt_{TUBE}_dup1"]


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=short",
        f"https://www.youtube.com/watch?v={TUBE}x",
        "https://www.youtube.com/playlist?list=PL1",
        "https://www.youtube.com/embed/videoseries?list=PL1",
        f"https://youtube.com.example.org/watch?v={TUBE}",
        f"https://notyoutube.com/watch?v={TUBE}",
        f"https://example.org/?u=https://youtu.be/{TUBE}",
        f"https://youtu.be@example.org/{TUBE}",
        f"https://example.org/youtu.be/{TUBE}",
        "https://www.youtube.com/watch?v=..%2F..%2Fetc%2F",
    ],
)
def test_sources_that_are_no_video_of_youtube_have_a_hash(url: str) -> None:
    assert youtube_id(url) is None


# Lists.


def test_sources_in_a_text_are_a_line_each(tmp_path: Path) -> None:
    make(tmp_path, "v/a b.mp4")
    text = (
        "\ufeff# a comment\r\n\r\n  https://example.org/x.mp4  \r\nv/a b.mp4\n\n#v/c.mp4\nv/no.mp4"
    )
    videos = listed(tmp_path, text)
    check(videos)
    assert urls(videos) == ["https://example.org/x.mp4", "v/a b.mp4", "v/no.mp4"]
    assert [v.title for v in videos] == [None, "a b", "no"]
    assert all(v.outcome == "pending" for v in videos)  # a file that is not there fails in acquire
    assert [v.signature is not None for v in videos] == [False, True, False]


ROWS: list[dict[str, Any]] = [
    {
        "url": "https://example.org/1.mp4",
        "id": "my-ID_1",
        "title": "One, two\x1b[31m “three”",
        "channel": "ch",
        "license": "CC BY 4.0",
        "language": "en-US",
        "subtitles": "subs/1.vtt",
        "metadata": '{"b":1,"a":[null,true]}',
    },
    {"url": "https://example.org/2.mp4", "language": "DE"},
]


def written(folder: Path, suffix: str, rows: list[dict[str, Any]]) -> str:
    """Writes the rows as a list of that kind and returns its name."""
    path, columns = folder / f"rows{suffix}", list(rows[0])
    if suffix == ".jsonl":
        path.write_text("\n\n".join(json.dumps(r) for r in rows))
    elif suffix == ".parquet":
        full = [{c: r.get(c) for c in columns} for r in rows]
        pq.write_table(pa.Table.from_pylist(full), path)
    else:
        text = io.StringIO()
        table = csv.DictWriter(text, columns, delimiter="\t" if suffix == ".tsv" else ",")
        table.writeheader()
        table.writerows(rows)
        path.write_text(text.getvalue())
    return path.name


TABLES = [".csv", ".tsv", ".jsonl", ".parquet"]


@pytest.mark.parametrize("suffix", TABLES)
def test_sources_in_a_table_carry_what_it_says(tmp_path: Path, suffix: str) -> None:
    videos = list_sources(written(tmp_path, suffix, ROWS), tmp_path)
    check(videos)
    one, two = videos
    assert (one.video_id, one.url) == ("my-ID_1", ROWS[0]["url"])
    assert one.title == "One, two [31m “three”"
    assert (one.channel, one.license, one.subtitles) == ("ch", "CC BY 4.0", "subs/1.vtt")
    assert (one.stated_language, two.stated_language) == ("en", "de")
    assert one.metadata == '{"b":1,"a":[null,true]}'
    assert two.video_id == hashed("https://example.org/2.mp4")
    assert (two.title, two.license, two.metadata) == (None, None, None)


@pytest.mark.parametrize("suffix", TABLES)
def test_sources_in_a_table_may_be_paths(tmp_path: Path, suffix: str) -> None:
    make(tmp_path, " a\n%41.mp4")
    rows = [{"path": " a\n%41.mp4", "extra": "x"}, {"path": "https://example.org/x", "extra": "y"}]
    videos = list_sources(written(tmp_path, suffix, rows), tmp_path)
    check(videos)
    assert urls(videos) == [" a%0A%41.mp4", "https://example.org/x"]
    assert videos[0].title == "a %41"
    assert Path(videos[0].location).is_file()


def test_sources_in_jsonl_may_have_metadata_of_any_shape(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(50):
        deep = [deep]
    values = [
        {"a": 1},
        [1, 2],
        3,
        True,
        "plain",
        "",
        None,
        deep,
        {"nan": math.nan},
        "\ud800",
        1e999,
    ]
    rows = [{"url": f"https://example.org/{i}", "metadata": v} for i, v in enumerate(values)]
    videos = list_sources(written(tmp_path, ".jsonl", rows), tmp_path)
    found = [v.metadata for v in videos]
    assert found[:7] == ['{"a":1}', "[1,2]", "3", "true", '"plain"', None, None]
    assert found[8:] == ['{"nan":null}', '"?"', "null"]
    for text in (f for f in found if f):
        json.loads(text, parse_constant=pytest.fail)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_sources_metadata_is_json_of_bounded_size(value: Any) -> None:
    text = metadata_text(value)
    if text is not None:
        json.loads(text, parse_constant=pytest.fail)
        assert len(text.encode()) <= 1000


def test_sources_metadata_keeps_what_fits(tmp_path: Path) -> None:
    text = metadata_text({"a": 1, "b": "é" * 100, "c": "x" * 5000, "d": 2})
    assert text is not None
    assert json.loads(text) == {"_cut": True, "a": 1, "b": "é" * 100}
    assert metadata_text("[" * 100_000) is not None


def test_sources_with_a_bad_or_taken_id_have_the_computed_one(tmp_path: Path) -> None:
    names = ["good", "good", "a b", "../x", "é", "x" * 64, "x" * 65, "", 7, "a\n"]
    rows = [{"url": f"https://example.org/{i}", "id": n} for i, n in enumerate(names)]
    videos = list_sources(written(tmp_path, ".jsonl", rows), tmp_path)
    check(videos)
    given_ = {0: "good", 5: "x" * 64, 8: "7"}
    for i, video in enumerate(videos):
        assert video.video_id == given_.get(i, hashed(f"https://example.org/{i}"))


def test_sources_keep_ids_apart_that_a_list_would_mix_up(tmp_path: Path) -> None:
    one = hashed("https://example.org/1")
    rows = [
        {"url": "https://example.org/0", "id": one},
        {"url": "https://example.org/1"},
        {"url": "https://example.org/2", "id": f"{one}_dup1"},
        {"url": "https://example.org/0"},
        {"url": "https://example.org/1"},
    ]
    videos = list_sources(written(tmp_path, ".jsonl", rows), tmp_path)
    check(videos)
    assert [v.outcome for v in videos] == ["pending"] * 3 + ["rejected"] * 2


def test_sources_in_a_list_start_from_the_config_or_else_from_the_list(tmp_path: Path) -> None:
    make(tmp_path, "lists/a.mp4", "both.mp4", "lists/both.mp4", "v/b.mp4", "v/c/b.mp4")
    (tmp_path / "lists/l.txt").write_text("a.mp4\nboth.mp4\nv/b.mp4\nlists/a.mp4\nv/c/b.mp4")
    videos = list_sources("lists/l.txt", tmp_path)
    check(videos)
    assert [os.path.relpath(v.location, tmp_path) for v in videos] == [
        "lists/a.mp4",
        "both.mp4",
        "v/b.mp4",
        "lists/a.mp4",
        "v/c/b.mp4",
    ]
    assert urls(videos) == ["a.mp4", "both.mp4", "v/b.mp4", "a.mp4", "v/c/b.mp4"]
    assert [v.outcome for v in videos] == [*["pending"] * 3, "rejected", "pending"]


def test_sources_outside_the_folder_of_their_list_are_named_without_it(tmp_path: Path) -> None:
    make(tmp_path, "out/1/v.mp4", "out/2/v.mp4", "out/3/2/v.mp4", "in/v.mp4")
    outside = [tmp_path / "out/1/v.mp4", tmp_path / "out/2/v.mp4", tmp_path / "out/3/2/v.mp4"]
    lines = ["../out/1/v.mp4", *map(str, outside), "..", "/", ".", "v.mp4", "../out/../in/v.mp4"]
    (tmp_path / "in/l.txt").write_text("\n".join(lines))
    videos = list_sources("l.txt", tmp_path / "in")
    check(videos)
    assert urls(videos)[:3] == ["v.mp4", "v.mp4", "2/v.mp4"]
    assert re.fullmatch(r"2~[0-9a-f]{8}/v\.mp4", urls(videos)[3])
    assert urls(videos)[7] == "in/v.mp4"
    assert [v.outcome == "rejected" for v in videos] == [i in (1, 8) for i in range(9)]
    assert str(tmp_path) not in "".join(urls(videos))


# Names and addresses that mean harm.


HOSTILE = [
    b"\xff\xfe.mp4",
    b"new\nline.mp4",
    b"\x1b[2J.mp4",
    b"\xe2\x80\xaetxt.mp4",
    b"100%.mp4",
    b"a%2e%2e%2fb.mp4",
    b"-rf.mp4",
    b"<script>.mp4",
    b"http:--x.mp4",
    b"data:x.mp4",
    b"\xe2\x80\xa8.mp4",
    "日本 é 🎬.mp4".encode(),
]


def test_sources_with_hostile_names_are_listed_and_open(tmp_path: Path) -> None:
    made = []
    for number, name in enumerate(HOSTILE):
        try:
            with Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).open("wb") as file:
                file.write(bytes([number]))
            made.append(name)
        except OSError:
            continue  # not on this file system
    videos = list_sources(str(tmp_path), tmp_path)
    check(videos)
    assert sorted(os.fsencode(v.location).rpartition(b"/")[2] for v in videos) == sorted(made)
    for video in videos:
        name = os.fsencode(video.location).rpartition(b"/")[2]
        assert Path(video.location).read_bytes() == bytes([HOSTILE.index(name)])
        assert video.video_id == hashed(name)
        assert video.signature is not None
        canonical_json([video.url, video.title])
        pa.array([video.url, video.title], pa.string())
    assert "%FF%FE.mp4" in urls(videos)


def test_sources_that_cannot_be_fetched_are_rows_that_failed(tmp_path: Path) -> None:
    schemes = [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "ftp://example.org/x.mp4",
        "data:video/mp4;base64,AAAA",
        "javascript:alert(1)",
        "zip://x.mp4::/tmp/x.zip",
        "s3://bucket/x::file:///etc/passwd",
        "gopher://x",
    ]
    addresses = ["nul\0.mp4", "https://example.org/" + "x" * 3000, "y" * 3000]
    good = "https://example.org/good.mp4"
    rows = [{"url": u} for u in [*schemes, *addresses, good]]
    videos = list_sources(written(tmp_path, ".jsonl", rows), tmp_path)
    check(videos)
    assert {v.reason for v in videos[:8]} == {"unsupported_scheme"}
    assert {v.reason for v in videos[8:11]} == {"bad_address"}
    assert {v.outcome for v in videos[:11]} == {"failed"}
    assert videos[11].outcome == "pending"
    assert all(len(v.to_json()) < 4096 for v in videos)


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_sources_of_any_text_are_one_row_a_line(
    tmp_path_factory: pytest.TempPathFactory, addresses: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    rows = [{"url": a} for a in addresses if a.strip()] or [{"url": "x"}]
    videos = list_sources(written(folder, ".jsonl", rows), folder)
    check(videos)
    assert len(videos) == len(rows)
    for video in videos:
        assert len(Acquire().key(video)) == 64


def test_sources_with_half_a_surrogate_pair_are_rows(tmp_path: Path) -> None:
    rows = [{"url": u} for u in ("a\ud800.mp4", "https://example.org/\udfff", "b.mp4")]
    videos = list_sources(written(tmp_path, ".jsonl", rows), tmp_path)
    check(videos)
    assert len(videos) == 3


# What is refused, in one sentence.


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("l.txt", b"", "l.txt holds no sources"),
        ("l.txt", b"# only\n\n", "l.txt holds no sources"),
        ("l.txt", b"a.mp4\n\xff\xfe\n", "l.txt, row 2: expected UTF-8, found byte 0xff"),
        ("l.txt", "a.mp4\n".encode("utf-16"), "l.txt, row 1: expected UTF-8"),
        ("l.txt", b"a.mp4\n" + b"x" * 70_000, "l.txt, row 2: longer than 64 KiB"),
        ("l.txt", b"PK\x03\x04abc", "expected UTF-8 text, found a ZIP archive"),
        ("l.csv", b"PAR1abc", "expected UTF-8 text, found Parquet"),
        (
            "l.csv",
            b"video_url,id\nx,1\n",
            "'url' or 'path', found: video_url, id; is it 'video_url'?",
        ),
        ("l.csv", b"ur,id\nx,1\n", "is it 'ur'?"),
        ("l.csv", b"", "expected a column 'url' or 'path', found: none"),
        ("l.csv", b"url,id\n", "l.csv holds no sources"),
        ("l.csv", b"url,title\na.mp4,b,c\n", "l.csv, row 2: 3 cells under 2 columns"),
        ("l.csv", b"url,id\n,1\n", "l.csv, row 2: expected a URL or a path, found an empty cell"),
        ("l.csv", b'url\n"a.mp4\n', "l.csv, row 2: "),
        (
            "l.csv",
            b"url,language\na,en\nb,klingon\n",
            "l.csv, row 3: 'klingon' is no language code",
        ),
        ("l.csv", b"url,language\na,xq\n", "expected ISO 639-1, such as 'en'"),
        ("l.tsv", b"url\tlanguage\nx\ten\ty\n", "l.tsv, row 2: 3 cells under 2 columns"),
        ("l.jsonl", b'{"url": "a"}\n{"url": \n', "l.jsonl, row 2: expected a JSON object"),
        ("l.jsonl", b'["a"]\n', "l.jsonl, row 1: expected a JSON object, found list"),
        ("l.jsonl", b'{"uri": "a"}\n', "l.jsonl, row 1: expected a column 'url' or 'path'"),
        ("l.jsonl", b'{"url": ["a"]}\n', "l.jsonl, row 1: column 'url': expected text, found list"),
        ("l.jsonl", b"[" * 30_000, "l.jsonl, row 1: expected a JSON object"),
        ("l.parquet", b"PAR1 and nothing else", "l.parquet: cannot be read as Parquet"),
        ("l.jsnl", b"", "did you mean '.jsonl'?"),
        ("list", b"", "files ending in 'nothing' are neither lists nor media"),
        ("\x1b[2J.pdf", b"", "files ending in '.pdf' are neither lists nor media"),
    ],
)
def test_sources_refuse_a_list_that_is_none(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError) as caught:
        list_sources(name, tmp_path)
    message = str(caught.value)
    assert said in message
    assert message.isprintable()
    assert len(message) < 500


def test_sources_refuse_what_is_not_there(tmp_path: Path) -> None:
    make(tmp_path, "videos/a.txt", "talks.csv")
    for source, said in {
        "talk.csv": "there is no talk.csv; did you mean 'talks.csv'?",
        "absent/a.mp4": "there is no absent/a.mp4: its folder is not there either",
        "videos": "videos holds no sources",
        "videos/*.mp4": "videos/*.mp4 holds no sources",
        "absent/**": "absent/** holds no sources",
        "file:///etc/passwd": "found file:",
        "data:x": "found data:",
        "s3://b/x::file:///y": "found s3:",
        "": "",
        "nul\0.mp4": "there is no nul%00.mp4",
        f"memory://{uuid.uuid4().hex}/x.mp4": "there is no memory://",
    }.items():
        if source:
            with pytest.raises(UsageError, match=re.escape(said)):
                list_sources(source, tmp_path)
    with pytest.raises(UsageError, match="there are no sources"):
        list_sources([], tmp_path)


def test_sources_refuse_a_folder_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> Any:
        raise PermissionError(13, "Permission denied", path)

    make(tmp_path, "v/a.mp4")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        list_sources("v", tmp_path)


# Object stores.


def test_sources_on_an_object_store_are_listed(tmp_path: Path) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    fs = fsspec.filesystem("memory")
    for name in ("b.mp4", "a/x y%20.MKV", "notes.srt", "l.txt"):
        text = b"b.mp4\nhttps://example.org/x\nmemory://other/z.mp4\n#c\n"
        fs.pipe_file(f"{root.removeprefix('memory:/')}/{name}", text)
    both = [f"{root}/a/x y%20.MKV", f"{root}/b.mp4"]
    assert urls(list_sources(root, tmp_path)) == both
    assert urls(list_sources(f"{root}/**", tmp_path)) == both
    assert urls(list_sources(f"{root}/*.mp4", tmp_path)) == both[1:]
    assert urls(list_sources(f"{root}/b.mp4", tmp_path)) == both[1:]
    videos = list_sources([f"{root}/l.txt", root], tmp_path)
    check(videos)
    assert urls(videos)[:3] == [both[1], "https://example.org/x", "memory://other/z.mp4"]
    assert [v.outcome for v in videos] == [*["pending"] * 4, "rejected"]
    assert videos[0].video_id == hashed(both[1])
    assert all(v.location == v.url for v in videos)
    with pytest.raises(UsageError, match="neither lists nor media"):
        list_sources(f"{root}/notes.srt", tmp_path)


def test_sources_say_when_a_store_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(_: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with pytest.raises(UsageError, match="s3://bucket/v cannot be read: ImportError: Install s3fs"):
        list_sources("s3://me:secret@bucket/v", tmp_path)


# The rest.


def test_sources_are_the_same_whatever_stood_around_them(tmp_path: Path) -> None:
    make(tmp_path, *(f"v/{i}.mp4" for i in range(30)))
    alone = {v.url: v.video_id for v in list_sources("v", tmp_path)}
    order = random.Random(0).sample(sorted(alone), 20)
    videos = listed(tmp_path, "\n".join(f"v/{name}" for name in order))
    assert urls(videos) == [f"v/{n}" for n in order]
    (tmp_path / "v/l.txt").write_text("\n".join(order))
    assert {
        v.url: v.video_id for v in list_sources("l.txt", tmp_path / "v")
    }.items() <= alone.items()


def test_sources_signature_changes_with_the_file(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    (video,) = list_sources("a.mp4", tmp_path)
    assert video.signature == f"1:{(tmp_path / 'a.mp4').stat().st_mtime_ns}"
    (tmp_path / "a.mp4").write_bytes(b"more")
    (changed,) = list_sources("a.mp4", tmp_path)
    assert changed.signature not in (video.signature, None)
    (tmp_path / "l.txt").write_text("a.mp4\ngone.mp4\nhttps://example.org/a.mp4")
    assert [v.signature for v in list_sources("l.txt", tmp_path)] == [changed.signature, None, None]


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        *[("en", "en"), ("EN", "en"), ("en-US", "en"), ("pt_BR", "pt"), ("zh-Hant-TW", "zh")],
        *[("eng", "en"), ("ger", "de"), ("deu", "de"), ("cmn", "zh"), ("yue", "yue"), ("iw", "he")],
        *[("", None), ("und", None), (" fr ", "fr")],
    ],
)
def test_sources_language_is_a_code_of_two_letters(stated: str, code: str | None) -> None:
    assert language_code(stated) == code


def test_sources_language_knows_all_that_whisper_knows() -> None:
    tokenizer = pytest.importorskip("faster_whisper.tokenizer")
    codes = {code: language_code(code) for code in tokenizer._LANGUAGE_CODES}
    assert {c for c, found in codes.items() if found != c} == {"jw"}  # Javanese: "jv" since 2001


PLAIN = st.from_regex(r"https?://[a-z0-9.-]{1,12}(/[A-Za-z0-9._~-]{0,6}){0,3}", fullmatch=True)


@given(PLAIN)
def test_urls_that_look_plain_are_as_the_library_writes_them(url: str) -> None:
    if is_plain(url):
        assert url == canonicalize_url(url) == canonical_url(url) == published_url(url)


@given(
    st.from_regex(r"https?://[a-z]{1,5}(:[0-9]{2,4})?/[ -~é]{0,12}(\?[ -~]{0,12})?", fullmatch=True)
)
def test_urls_have_one_canonical_form(url: str) -> None:
    once = canonical_url(url)
    assert canonical_url(once) == once


@given(st.text("ab1:@/?#[% ", max_size=12), st.text("xyz", min_size=1, max_size=4))
def test_urls_never_show_a_password(password: str, path: str) -> None:
    word = f"PASS{quote(password, safe='/:')}WORD"
    shown = without_credentials(f"see https://me:{word}@host/{path}, please")
    assert "PASS" not in shown
    assert "WORD" not in shown
    assert f"https://host/{path}, please" in shown


def test_urls_with_an_at_sign_in_their_path_stay_whole() -> None:
    for url in ("https://a.org/@user/1", "https://a.org:8080/@u", "https://a.org/x?y=a@b"):
        assert without_credentials(url) == url
