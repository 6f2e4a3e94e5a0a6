"""Ways to break a corpus, each with words of the fault that verify must find in it."""

from __future__ import annotations

import math
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .corpus_made import (
    Members,
    edit_dataset,
    edit_json,
    edit_rows,
    edit_shard,
    entry_follows,
    make_mp4,
    replace_table,
)

SHARD = "train-000000.tar"  # x_one: two samples
ONE, FIVE = "x_one-000002000", "x_one-000005000"

Break = Callable[[Path], object]
BREAKS: dict[str, tuple[str, Break]] = {}  # by name: words of the fault, and how to make it
OURS: dict[str, tuple[str, Break]] = {}  # the same, for what the outside checker does not look at


def breaks(words: str, ours: bool = False) -> Callable[[Break], Break]:
    """Registers a way to break a corpus."""

    def register(function: Break) -> Break:
        (OURS if ours else BREAKS)[function.__name__] = (words, function)
        return function

    return register


def row(rows: list[dict[str, Any]], name: str, value: Any) -> dict[str, Any]:
    """Returns the first row in which a column has a value."""
    return next(r for r in rows if r[name] == value)


# dataset.json and what stands beside it


@breaks("README.md is missing")
def card_missing(folder: Path) -> None:
    (folder / "README.md").unlink()


@breaks("clips.parquet is missing")
def table_missing(folder: Path) -> None:
    (folder / "clips.parquet").unlink()


@breaks("no corpus")
def dataset_missing(folder: Path) -> None:
    (folder / "dataset.json").unlink()


@breaks("of the format 'reelscript/0'")
def format_foreign(folder: Path) -> None:
    edit_dataset(folder, lambda info: info.update(format="reelscript/0"))


@breaks("is not JSON")
def dataset_with_nan(folder: Path) -> None:
    edit_dataset(folder, lambda info: info["hours"].update(kept=math.nan))


@breaks("lacks versions")
def dataset_without_versions(folder: Path) -> None:
    edit_dataset(folder, lambda info: info.pop("versions"))


@breaks("counts 7 sources, the tables hold 6")
def counts_wrong(folder: Path) -> None:
    edit_dataset(folder, lambda info: info["counts"].update(sources=7))


@breaks("hours kept", ours=True)
def hours_wrong(folder: Path) -> None:
    edit_dataset(folder, lambda info: info["hours"].update(kept=12.0))


@breaks("loads something from the network", ours=True)
def report_not_self_contained(folder: Path) -> None:
    (folder / "report.html").write_text('<script defer src="https://example.org/x.js"></script>')


@breaks("is not the one that dataset.json names", ours=True)
def table_swapped(folder: Path) -> None:
    with (folder / "videos.parquet").open("ab") as file:
        file.write(b"x")


# tables


@breaks("lacks the column language")
def column_missing(folder: Path) -> None:
    table = pq.read_table(folder / "videos.parquet")
    replace_table(folder, "videos", table.drop_columns(["language"]))


@breaks("text is null in 1 rows")
def text_null(folder: Path) -> None:
    edit_rows(folder, "clips", lambda rows: rows[2].update(text=None))


@breaks("words_per_s holds NaN", ours=True)
def score_nan(folder: Path) -> None:
    edit_rows(folder, "clips", lambda rows: rows[2].update(words_per_s=math.nan))


@breaks("holds string, expected a number", ours=True)
def column_of_another_type(folder: Path) -> None:
    table = pq.read_table(folder / "videos.parquet")
    place = table.column_names.index("duration_s")
    text = pa.array([str(value) for value in table["duration_s"].to_pylist()])
    replace_table(folder, "videos", table.set_column(place, "duration_s", text))


@breaks("video 'x_mute' stands twice")
def video_twice(folder: Path) -> None:
    edit_rows(folder, "videos", lambda rows: rows.append(row(rows, "video_id", "x_mute")))
    edit_dataset(folder, lambda info: info["counts"].update(sources=7, rejected=3))


@breaks("counts 2 rejected, the tables hold 1")
def video_lost(folder: Path) -> None:
    edit_rows(folder, "videos", lambda rows: rows.remove(row(rows, "video_id", "x_mute")))


@breaks("characters that a video_id cannot have")
def video_id_hostile(folder: Path) -> None:
    edit_rows(
        folder, "videos", lambda rows: row(rows, "video_id", "x_mute").update(video_id="../\x1b[2J")
    )


@breaks("neither a URL nor a relative path")
def url_absolute(folder: Path) -> None:
    edit_rows(
        folder, "videos", lambda rows: row(rows, "video_id", "x_mute").update(url="/home/me/x.mp4")
    )


@breaks("neither a URL nor a relative path", ours=True)
def url_absolute_on_windows(folder: Path) -> None:
    edit_rows(
        folder, "videos", lambda rows: row(rows, "video_id", "x_mute").update(url="C:\\me\\x.mp4")
    )


@breaks("has the outcome 'pending'")
def video_pending(folder: Path) -> None:
    edit_rows(
        folder, "videos", lambda rows: row(rows, "video_id", "x_bad").update(outcome="pending")
    )
    edit_dataset(folder, lambda info: info["counts"].update(failed=0))


@breaks("no stage and reason are given")
def video_rejected_for_nothing(folder: Path) -> None:
    edit_rows(folder, "videos", lambda rows: row(rows, "video_id", "x_mute").update(reason=None))


@breaks("is kept, but 0 of its clips are")
def video_kept_without_clips(folder: Path) -> None:
    edit_rows(folder, "videos", lambda rows: row(rows, "video_id", "x_mute").update(outcome="kept"))
    edit_dataset(folder, lambda info: info["counts"].update(kept=4, rejected=1))


@breaks("source_sha256 None")
def video_kept_without_sha256(folder: Path) -> None:
    edit_rows(folder, "videos", lambda rows: rows[0].update(source_sha256=None))


@breaks("has clips_rejected = 1, clips.parquet holds 0")
def clip_lost(folder: Path) -> None:
    edit_rows(folder, "clips", lambda rows: rows.remove(row(rows, "video_id", "x_talk")))
    edit_dataset(folder, lambda info: info["counts"].update(clips=10))


@breaks("clip_index does not count")
def clip_index_skips(folder: Path) -> None:
    edit_rows(folder, "clips", lambda rows: row(rows, "video_id", "x_talk").update(clip_index=1))


@breaks("the kept clips 0 and 1 overlap")
def clips_overlap(folder: Path) -> None:
    edit_rows(folder, "clips", lambda rows: rows[0].update(end_s=3.5))


@breaks("is out of time order", ours=True)
def rejected_clip_out_of_order(folder: Path) -> None:
    edit_rows(folder, "clips", lambda rows: rows[2].update(start_s=0.5, end_s=1.0))


@breaks("in the sample 'x_one-000002000'")
def rejected_clip_in_a_sample(folder: Path) -> None:
    edit_rows(folder, "clips", lambda rows: rows[2].update(sample_key=ONE))


@breaks("is rejected for None")
def clip_rejected_for_nothing(folder: Path) -> None:
    edit_rows(folder, "clips", lambda rows: rows[2].update(reason=None))


@breaks("which samples.parquet does not know")
def clip_in_an_unknown_sample(folder: Path) -> None:
    edit_rows(folder, "clips", lambda rows: rows[0].update(sample_key="x_one-000000001"))


@breaks("clips that are not consecutive")
def clips_not_consecutive(folder: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[1]["sample_key"], rows[3]["sample_key"] = FIVE, ONE

    edit_rows(folder, "clips", change)


@breaks("stands twice in samples.parquet")
def sample_twice(folder: Path) -> None:
    edit_rows(folder, "samples", lambda rows: rows.append(dict(rows[0])))
    edit_dataset(folder, lambda info: info["counts"].update(samples=5))


@breaks("is not the key of 'x_one' at 2.5 s")
def sample_key_of_another_time(folder: Path) -> None:
    edit_rows(folder, "samples", lambda rows: row(rows, "key", ONE).update(start_s=2.5))
    edit_json(folder, lambda meta: meta.update(start_s=2.5), ONE)


@breaks("lies in more than one split")
def video_in_two_splits(folder: Path) -> None:
    edit_rows(folder, "samples", lambda rows: row(rows, "key", ONE).update(split="val"))


@breaks("the channel 'a channel' lies in more than one split", ours=True)
def channel_in_two_splits(folder: Path) -> None:
    edit_rows(
        folder, "videos", lambda rows: row(rows, "video_id", "x_two").update(channel="a channel")
    )


@breaks("reach beyond", ours=True)
def clip_beyond_its_sample(folder: Path) -> None:
    edit_rows(folder, "clips", lambda rows: rows[1].update(end_s=4.01))


# shards


@breaks("has not the sha256 of dataset.json")
def shard_bit_flipped(folder: Path) -> None:
    path = folder / "shards" / SHARD
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)


@breaks("bytes, dataset.json says")
def shard_truncated(folder: Path) -> None:
    path = folder / "shards" / SHARD
    path.write_bytes(path.read_bytes()[:20_000])


@breaks("unexpected end of data")
def shard_truncated_and_listed_so(folder: Path) -> None:
    shard_truncated(folder)
    entry_follows(folder, SHARD)


@breaks(f"shards/{SHARD} is missing")
def shard_missing(folder: Path) -> None:
    (folder / "shards" / SHARD).unlink()


@breaks("train-r001-000000.tar is not in dataset.json")
def shard_unlisted(folder: Path) -> None:
    shutil.copy(folder / "shards" / SHARD, folder / "shards" / "train-r001-000000.tar")


@breaks("stands twice in dataset.json")
def shard_listed_twice(folder: Path) -> None:
    edit_dataset(folder, lambda info: info["shards"].append(info["shards"][0]))


@breaks("is no name for a shard")
def shard_badly_named(folder: Path) -> None:
    (folder / "shards" / SHARD).rename(folder / "shards" / "first.tar")
    edit_dataset(folder, lambda info: info["shards"][0].update(name="first.tar"))
    for_all = {SHARD: "first.tar"}
    edit_rows(
        folder,
        "samples",
        lambda rows: [r.update(shard=for_all.get(r["shard"], r["shard"])) for r in rows],
    )


@breaks("dataset.json says 3 samples, samples.parquet 2")
def shard_entry_counts_wrong(folder: Path) -> None:
    edit_dataset(folder, lambda info: info["shards"][0].update(samples=3))


@breaks("does not end as a tar does")
def shard_with_garbage_at_its_end(folder: Path) -> None:
    with (folder / "shards" / SHARD).open("ab") as file:
        file.write(b"more")
    entry_follows(folder, SHARD)


@breaks("does not end as a tar does")
def shard_with_garbage_between_samples(folder: Path) -> None:
    """As webdataset reads it, such a shard ends there without a word."""
    path = folder / "shards" / SHARD
    second = row(pq.read_table(folder / "samples.parquet").to_pylist(), "key", FIVE)
    data = bytearray(path.read_bytes())
    start = second["mp4_offset"] - 512
    data[start : start + 512] = b"\xff" * 512
    path.write_bytes(data)
    entry_follows(folder, SHARD)


def retar(folder: Path, change: Callable[[tarfile.TarInfo], object]) -> None:
    """Writes the first shard again with other headers of the same length."""
    path = folder / "shards" / SHARD
    with tarfile.open(path) as tar:
        members = [(m, tar.extractfile(m)) for m in tar]
        with tarfile.open(path.with_name("new"), "w", format=tarfile.USTAR_FORMAT) as new:
            for info, data in members:
                change(info)
                new.addfile(info, data if info.isreg() else None)
    path.with_name("new").rename(path)
    entry_follows(folder, SHARD)


@breaks("mtime, uid or gid")
def member_with_a_time(folder: Path) -> None:
    retar(folder, lambda info: setattr(info, "mtime", 1_700_000_000))


@breaks("is no plain file")
def member_is_a_link(folder: Path) -> None:
    def change(info: tarfile.TarInfo) -> None:
        if info.name == f"{FIVE}.txt":
            info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0

    retar(folder, change)


@breaks("is no plain file")
def member_escapes(folder: Path) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.name = info.name.replace(f"{FIVE}.txt", "../../escape.txt")

    retar(folder, change)


@breaks("expected mp4, json, txt")
def members_in_another_order(folder: Path) -> None:
    edit_shard(folder, SHARD, lambda members: [*members[:3], members[4], members[3], members[5]])


@breaks("do not lie together")
def members_apart(folder: Path) -> None:
    edit_shard(folder, SHARD, lambda members: [members[0], *members[3:], *members[1:3]])


@breaks("lacks the sample 'x_one-000005000'")
def sample_lost_from_the_tar(folder: Path) -> None:
    edit_shard(folder, SHARD, lambda members: members[:3])


@breaks("samples.parquet does not know there")
def sample_lost_from_the_index(folder: Path) -> None:
    edit_rows(folder, "samples", lambda rows: rows.remove(row(rows, "key", FIVE)))


@breaks("the index says offset 7")
def offset_wrong(folder: Path) -> None:
    edit_rows(folder, "samples", lambda rows: row(rows, "key", FIVE).update(json_offset=7))


@breaks("mp4 has not the sha256 of the index")
def mp4_digest_wrong(folder: Path) -> None:
    edit_rows(folder, "samples", lambda rows: row(rows, "key", FIVE).update(mp4_sha256="0" * 64))


@breaks("txt is not the text")
def txt_differs(folder: Path) -> None:
    edit_shard(
        folder,
        SHARD,
        lambda members: [(n, b"other" if n.endswith("txt") else d) for n, d in members],
    )


# the json of a sample


@breaks("NaN is not JSON")
def json_with_nan(folder: Path) -> None:
    edit_json(folder, lambda meta: meta["scores"].update(words_per_s=math.nan))


@breaks("json lacks transcript")
def json_field_missing(folder: Path) -> None:
    edit_json(folder, lambda meta: meta.pop("transcript"))


@breaks("license is 'MIT' in json")
def json_license_differs(folder: Path) -> None:
    edit_json(folder, lambda meta: meta.update(license="MIT"))


@breaks("language is 'de' in json")
def json_language_differs(folder: Path) -> None:
    edit_json(folder, lambda meta: meta.update(language="de"))


@breaks("expected int", ours=True)
def json_frames_is_text(folder: Path) -> None:
    edit_json(folder, lambda meta: meta.update(frames="20"))


@breaks("no time in ms", ours=True)
def json_time_not_rounded(folder: Path) -> None:
    edit_json(folder, lambda meta: meta.update(end_s=meta["end_s"] + 1e-5))


@breaks("transcript is")
def json_transcript_of_nowhere(folder: Path) -> None:
    edit_json(folder, lambda meta: meta["transcript"].update(source="guess"))


@breaks("starts before the last one ends")
def json_clips_overlap(folder: Path) -> None:
    edit_json(folder, lambda meta: meta["clips"][1].update(start_s=0.9))


@breaks("start_s is not that of clips.parquet")
def json_clip_elsewhere(folder: Path) -> None:
    edit_json(folder, lambda meta: meta["clips"][0].update(start_s=0.2))


@breaks("ends after its clip")
def json_word_after_its_clip(folder: Path) -> None:
    edit_json(folder, lambda meta: meta["clips"][0]["words"][2].update(end_s=1.2))


@breaks("starts before its clip")
def json_word_before_its_clip(folder: Path) -> None:
    edit_json(folder, lambda meta: meta["clips"][1]["words"][0].update(start_s=0.5))


@breaks("is out of order")
def json_words_out_of_order(folder: Path) -> None:
    edit_json(folder, lambda meta: meta["clips"][0]["words"].reverse())


@breaks("text is not its words joined")
def json_word_lost(folder: Path) -> None:
    edit_json(folder, lambda meta: meta["clips"][0]["words"].pop())


@breaks("cannot be checked: KeyError")
def json_word_without_time(folder: Path) -> None:
    edit_json(folder, lambda meta: meta["clips"][0]["words"][0].pop("end_s"))


# media


@breaks("json says 19")
def frames_fewer_than_stated(folder: Path) -> None:
    swap_mp4(folder, frames=17)
    edit_json(folder, lambda meta: meta.update(frames=19))


@breaks("json says 128x48")
def size_other_than_stated(folder: Path) -> None:
    edit_json(folder, lambda meta: meta.update(width_px=128))


@breaks("behind its keyframe")
def keyframes_too_far_apart(folder: Path) -> None:
    swap_mp4(folder, keyframe_every=250)


@breaks("is not faststart")
def not_faststart(folder: Path) -> None:
    swap_mp4(folder, faststart=False)


@breaks("has no sound, but its words were heard")
def no_sound(folder: Path) -> None:
    swap_mp4(folder, sound=False)


@breaks("mp4 is mpeg4")
def another_codec(folder: Path) -> None:
    swap_mp4(folder, codec="mpeg4")


@breaks("mp4 cannot be checked")
def no_video(folder: Path) -> None:
    put_mp4(folder, b"no video at all")


@breaks("shows pictures for")
def duration_other_than_stated(folder: Path) -> None:
    swap_mp4(folder, frames=35)
    edit_json(folder, lambda meta: meta.update(frames=35))


def swap_mp4(folder: Path, frames: int = 20, **settings: Any) -> None:
    """Puts another mp4 into the first sample."""
    path = folder.parent / "other.mp4"
    make_mp4(path, frames, **settings)
    put_mp4(folder, path.read_bytes())


def put_mp4(folder: Path, data: bytes) -> None:
    def change(members: Members) -> Members:
        return [(n, data if i == 0 else d) for i, (n, d) in enumerate(members)]

    edit_shard(folder, SHARD, change)
