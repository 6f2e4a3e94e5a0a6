"""How long and how much memory does it take to count a corpus, and to audit it?

python benchmarks/audit.py FOLDER [CLIPS ...]        default: 10000 100000 1000000

Writes FOLDER/CLIPS (tables, dataset.json, config.yaml; no shards) unless it is there, and asks,
three times each in a process of its own:
- statistics: all numbers of stats.json, from the Parquet tables;
- audit: the same, the page and the card, written to another folder.
Wall time and CPU time are medians; memory is the most that any of the three held. The corpora are
drawn at random, the same ones each time: words by Zipf's law, scores on both sides of their
thresholds, and of four sources one that ended before its words were known.
"""

from __future__ import annotations

import json
import resource
import statistics as of_python
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelscript.jobs.config import Config
from reelscript.pipeline.rules import Quality, rules_of
from reelscript.schemas.clip import SCORE_NAMES
from reelscript.schemas.sample import FORMAT
from reelscript.schemas.tables import CLIPS, SAMPLES, VIDEOS

DEFAULT_CLIPS = (10_000, 100_000, 1_000_000)
TIMES = 3
CLIPS_A_VIDEO = 16
CLIPS_A_SAMPLE = 8
CLIPS_AT_ONCE = 100_000
WORD_TYPES, ZIPF_EXPONENT = 200_000, 1.05
BOILERPLATE = ("thanks for watching and see you next time", "please like and subscribe")
MIB = 1 << 20

EARLY = (  # outcome, stage, reason of videos without clips, and how often
    *(("rejected", "speech", "no_speech", 8), ("rejected", "speech", "language", 6)),
    *(("rejected", "probe", "too_short", 4), ("rejected", "transcribe", "no_words", 2)),
    *(("failed", "acquire", "http_404", 3), ("failed", "acquire", "video_removed", 2)),
    *(("failed", "probe", "undecodable", 1), ("failed", "acquire", "timed_out", 1)),
)
LANGUAGES = (("en", 90), ("es", 4), ("de", 3), ("fr", 2), ("ja", 1))
SIZES = ((1920, 1080, 50), (1280, 720, 30), (640, 360, 15), (1080, 1920, 5))
CODECS = (("h264", 70), ("vp9", 20), ("av1", 10))
CENTRES: dict[str, tuple[float, float]] = {  # mean and deviation of a score
    "words_per_s": (2.6, 0.9),
    "chars_per_s": (14.0, 5.0),
    "mean_word_probability": (0.85, 0.15),
    "min_word_probability": (0.4, 0.2),
    "avg_logprob": (-0.35, 0.2),
    "no_speech_probability": (0.1, 0.15),
    "window_compression_ratio": (1.6, 0.25),
    "compression_ratio": (1.3, 0.3),
    "repeated_ngram_share": (0.05, 0.1),
    "unique_word_share": (0.85, 0.12),
    "longest_word_chars": (9.0, 3.0),
    "speech_share": (0.8, 0.2),
    "static_share": (0.2, 0.2),
    "interpolated_share": (0.05, 0.1),
}
TIMED = ("acquire", "probe", "glance", "speech", "transcribe", "language", "segment", "score")
Random = np.random.Generator
Strings = NDArray[np.object_]


def write_corpus(folder: Path, clips: int) -> None:
    """Writes the tables of a corpus of about so many clips, dataset.json and config.yaml."""
    r = np.random.default_rng(clips)
    measured = max(1, clips // CLIPS_A_VIDEO)
    videos = int(measured / 0.73) + 1
    has_clips = r.permutation(videos) < measured
    folder.mkdir(parents=True, exist_ok=True)
    kept = np.zeros(videos, dtype=np.int64)
    with (
        pq.ParquetWriter(folder / "clips.parquet", CLIPS, compression="zstd") as clip_file,
        pq.ParquetWriter(folder / "samples.parquet", SAMPLES, compression="zstd") as sample_file,
    ):
        for owners in _owners(r, np.flatnonzero(has_clips), clips):
            made = _clips(r, owners)
            clip_file.write_table(made)
            good = pc.equal(made["outcome"], "kept").to_numpy()
            kept += np.bincount(owners[good], minlength=videos)
            sample_file.write_table(_samples(made.filter(pa.array(good)), owners[good]))
    table = _videos(r, has_clips, kept)
    pq.write_table(table, folder / "videos.parquet", compression="zstd")
    config = Config(sources=("list.txt",), name=f"made_{clips}")
    (folder / "config.yaml").write_text(config.to_yaml())
    dataset = {"format": FORMAT, "name": config.name, "shards": [], "release": 0, "versions": {}}
    (folder / "dataset.json").write_text(json.dumps(dataset))


def _owners(r: Random, videos: NDArray[np.int64], clips: int) -> Iterator[NDArray[np.int64]]:
    """Yields the video of each clip, in pieces that part no video."""
    counts = 1 + r.poisson(CLIPS_A_VIDEO - 1, len(videos))
    counts[-1] = max(1, clips - int(counts[:-1].sum()))
    a_piece = CLIPS_AT_ONCE // CLIPS_A_VIDEO
    for at in range(0, len(videos), a_piece):
        yield np.repeat(videos[at : at + a_piece], counts[at : at + a_piece])


def _clips(r: Random, owners: NDArray[np.int64]) -> pa.Table:
    """Returns the clips of some videos, judged by the default thresholds."""
    n = len(owners)
    firsts = np.r_[True, owners[1:] != owners[:-1]]
    index = np.arange(n) - np.maximum.accumulate(np.where(firsts, np.arange(n), 0))
    length_s = np.round(r.uniform(3, 15, n), 3)
    end_s = np.round(index * 16.0 + length_s, 3)
    words = r.integers(8, 41, n)
    columns: dict[str, Any] = {
        "video_id": _ids(owners),
        "clip_index": index,
        "start_s": index * 16.0,
        "end_s": end_s,
        "text": _texts(r, words),
        "within_bounds": r.random(n) < 0.98,
        "words": words,
    }
    for name in SCORE_NAMES[1:]:
        values = np.round(r.normal(*CENTRES[name], n), 4)
        if name.endswith(("share", "probability")):
            values = values.clip(0, 1)
        columns[name] = values.round() if name == "longest_word_chars" else values
    reasons: Strings = np.where(columns["within_bounds"], None, "clip_out_of_bounds")
    for rule in rules_of(Quality()):
        if rule.limit is not None and not rule.of_video:
            bad = columns[rule.score] < rule.limit
            if rule.side == "max":
                bad = columns[rule.score] > rule.limit
            reasons[bad & (reasons == None)] = rule.reason  # noqa: E711 - elementwise
    reasons[(r.random(n) < 0.03) & (reasons == None)] = "passage_too_short"  # noqa: E711
    good = reasons == None  # noqa: E711
    keys = [
        f"x_{o:016x}-{int(i) // CLIPS_A_SAMPLE:09d}" for o, i in zip(owners, index, strict=True)
    ]
    columns["outcome"] = np.where(good, "kept", "rejected")
    columns["reason"] = reasons
    columns["sample_key"] = np.where(good, np.array(keys, dtype=object), None)
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in CLIPS]
    return pa.table(arrays, schema=CLIPS)


def _samples(clips: pa.Table, owners: NDArray[np.int64]) -> pa.Table:
    """Returns a sample for each key that kept clips name."""
    grouped = clips.append_column("owner", pa.array(owners)).group_by(["sample_key", "owner"])
    found = grouped.aggregate(
        [("start_s", "min"), ("end_s", "max"), ("text", "min"), ("text", "count")]
    )
    n, of = len(found), found["owner"].to_numpy()
    split = np.where(of % 50 == 0, "val", "train")
    named: dict[str, Any] = {
        "key": found["sample_key"],
        "shard": pa.array([f"{s}-{o % 100:06d}.tar" for s, o in zip(split, of, strict=True)]),
        "split": pa.array(split),
        "video_id": _ids(of),
        "start_s": found["start_s_min"],
        "end_s": found["end_s_max"],
        "duration_s": pc.subtract(found["end_s_max"], found["start_s_min"]),
        "clips": found["text_count"],
        "language": pa.array(["en"] * n),
        "text": found["text_min"],
    }
    zeros = {pa.string(): "0" * 64, pa.int64(): 1, pa.float64(): 25.0}
    columns = [named.get(f.name, pa.repeat(zeros[f.type], n)) for f in SAMPLES]
    return pa.table([c.cast(f.type) for c, f in zip(columns, SAMPLES, strict=True)], schema=SAMPLES)


def _videos(r: Random, has_clips: NDArray[np.bool_], kept: NDArray[np.int64]) -> pa.Table:
    """Returns a row for each source: those with clips are kept if one of these is."""
    n = len(has_clips)
    early = _drawn(r, n, [((o, s, why), often) for o, s, why, often in EARLY])
    in_clips = {True: ("kept", None, None), False: ("rejected", "passage", "passage_too_short")}
    ends = [in_clips[bool(k)] if c else e for c, k, e in zip(has_clips, kept, early, strict=True)]
    size = _drawn(r, n, [((w, h), often) for w, h, often in SIZES])
    channel = r.zipf(1.3, n)
    year = r.integers(2008, 2026, n)
    seconds = np.round(r.lognormal(5.5, 0.8, n), 3)
    timings = json.dumps({stage: 1.25 * (place + 1) for place, stage in enumerate(TIMED)})
    named: dict[str, Any] = {
        "video_id": _ids(np.arange(n)),
        "url": pa.array([f"https://www.youtube.com/watch?v={i:011x}" for i in range(n)]),
        "title": pa.array([f"A video of many, number {i}" for i in range(n)]),
        "license": pa.array(_drawn(r, n, [("CC-BY-4.0", 70), ("CC0-1.0", 10), (None, 20)])),
        "channel": pa.array([f"channel {c % 1_000_003}" for c in channel]),
        **{name: pa.array([e[at] for e in ends]) for at, name in enumerate(("outcome", "stage"))},
        "reason": pa.array([e[2] for e in ends]),
        "site_facts": pa.array([json.dumps({"upload_date": f"{y}0615"}) for y in year]),
        "duration_s": pa.array(seconds),
        "container": pa.repeat("mov,mp4,m4a,3gp,3g2,mj2", n),
        "video_codec": pa.array(_drawn(r, n, CODECS)),
        "audio_codec": pa.repeat("aac", n),
        "width_px": pa.array([s[0] for s in size]),
        "height_px": pa.array([s[1] for s in size]),
        "language": pa.array(_drawn(r, n, LANGUAGES)),
        "words": pa.array(r.integers(0, 2000, n)),
        "windows": pa.array((seconds / 25).astype(np.int64)),
        "redecoded_windows": pa.array(r.integers(0, 3, n)),
        "doubtful_windows": pa.array(r.integers(0, 2, n)),
        "interpolated_words": pa.array(r.integers(0, 9, n)),
        "clips_kept": pa.array(kept),
        "clips_rejected": pa.array(np.zeros(n, dtype=np.int64)),
        "timings": pa.array(np.where(has_clips, timings, '{"acquire": 0.5}')),
        "transcript_source": pa.array(np.where(has_clips, "asr", None)),
    }
    shares = ("speech_share", "voice_probability", "static_share", "mean_word_probability")
    named |= {name: pa.array(r.random(n).round(4)) for name in shares}
    columns = [named.get(f.name, pa.nulls(n)).cast(f.type) for f in VIDEOS]
    return pa.table(columns, schema=VIDEOS)


def _texts(r: Random, counts: NDArray[np.int64]) -> pa.Array:
    """Returns texts of so many words each, by Zipf's law; one of a hundred is boilerplate."""
    chances = np.cumsum(np.arange(1, WORD_TYPES + 1) ** -ZIPF_EXPONENT)
    ranks = np.searchsorted(chances, r.random(int(counts.sum())) * chances[-1])
    words = _vocabulary().take(pa.array(ranks))
    parted = pa.ListArray.from_arrays(pa.array(np.r_[0, counts.cumsum()], pa.int32()), words)
    same = pa.array(BOILERPLATE).take(pa.array(r.integers(0, len(BOILERPLATE), len(counts))))
    return pc.if_else(pa.array(r.random(len(counts)) < 0.01), same, pc.binary_join(parted, " "))


def _vocabulary() -> pa.Array:
    syllables = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
    spelled = []
    for rank in range(WORD_TYPES):
        word, rest = "", rank
        while not word or rest:
            rest, at = divmod(rest, len(syllables))
            word += syllables[at]
        spelled.append(word)
    return pa.array(spelled)


def _ids(numbers: NDArray[np.int64]) -> pa.Array:
    return pa.array([f"x_{number:016x}" for number in numbers])


def _drawn(r: Random, n: int, choices: Any) -> list[Any]:
    """Returns n of the values in `(value, weight)`, drawn by weight."""
    weights = np.array([weight for _, weight in choices], dtype=np.float64)
    return [choices[at][0] for at in r.choice(len(choices), n, p=weights / weights.sum())]


def count(corpus: Path) -> None:
    """Counts all numbers of stats.json."""
    from reelscript.jobs.provenance import all_reasons, all_thresholds
    from reelscript.jobs.statistics.rows import Rows
    from reelscript.jobs.statistics.stats import statistics
    from reelscript.pipeline.store import Store

    config = Config()
    with Rows.of_corpus(Store(str(corpus))) as rows:
        statistics(rows, reasons=all_reasons(config), thresholds=all_thresholds(config))


def audit(corpus: Path) -> None:
    """Audits the corpus as the verb does, into another folder, and says how large its page is."""
    from reelscript.jobs.audit import audit as run

    with tempfile.TemporaryDirectory() as out:
        run(str(corpus), out)
        print(f"{(Path(out) / 'report.html').stat().st_size / MIB:.2f} MiB", file=sys.stderr)


QUESTIONS: dict[str, Callable[[Path], None]] = {"statistics": count, "audit": audit}


def answer(question: str, corpus: Path) -> None:
    """Prints seconds and peak MiB of one question, asked in this process."""
    since, cpu_since = time.perf_counter(), time.process_time()
    QUESTIONS[question](corpus)
    wall_s, cpu_s = time.perf_counter() - since, time.process_time() - cpu_since
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_mib": peak_mib}))


def main() -> None:
    """Asks all questions at all sizes."""
    folder = Path(sys.argv[1])
    print(f"{'clips':>9}  {'':10} {'wall s':>7} {'CPU s':>7} {'peak MiB':>9}")
    for clips in [int(text) for text in sys.argv[2:]] or DEFAULT_CLIPS:
        corpus = folder / str(clips)
        if not (corpus / "dataset.json").exists():
            write_corpus(corpus, clips)
        for question in QUESTIONS:
            command = [sys.executable, __file__, "--answer", question, str(corpus)]
            found = []
            for _ in range(TIMES):
                said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                found.append(json.loads(said.splitlines()[-1]))
            wall_s, cpu_s = (of_python.median(f[k] for f in found) for k in ("wall_s", "cpu_s"))
            peak_mib = max(f["peak_mib"] for f in found)
            print(
                f"{clips:>9}  {question:10} {wall_s:>7.2f} {cpu_s:>7.2f} {peak_mib:>9.0f}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        answer(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
