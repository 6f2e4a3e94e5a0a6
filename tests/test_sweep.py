"""Other thresholds from stored scores: what a sweep says is what a build then makes."""

from __future__ import annotations

import html
import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelscript.jobs import cli
from reelscript.jobs.sweep.decided import Decider
from reelscript.jobs.sweep.measured import read_corpus
from reelscript.jobs.sweep.settings import NO_LIMIT, SWEEPABLE, axes_of, point_at, points_of
from reelscript.jobs.sweep.sweep import sweep
from reelscript.jobs.sweep.values import MOST_POINTS, OFF, values_of
from reelscript.jobs.sweep.words import rows_of
from reelscript.jobs.sweep.written import write_sweep
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.store import Store
from reelscript.schemas.video import Video
from reelscript.schemas.videos import Videos
from tests.sweep_made import (
    World,
    clips_table,
    config_with,
    decided,
    duration_s,
    put_corpus,
    worlds,
)
from tests.test_decide import row

Row = dict[str, Any]


# Values.


@given(st.integers(-500, 500), st.integers(0, 40), st.integers(1, 30), st.integers(0, 3))
def test_sweep_ranges_hold_both_ends_and_never_drift(
    start: int, count: int, step: int, places: int
) -> None:
    scale = Fraction(1, 10**places)
    first, last, by = (str(Decimal(n) / 10**places) for n in (start, start + count * step, step))
    found = values_of(f"{first}:{last}:{by}", "quality.min_words")
    assert [Fraction(str(value)) for value in found] == [
        (start + n * step) * scale for n in range(count + 1)
    ]


def test_sweep_values_are_exact_each_once_in_the_given_order() -> None:
    assert values_of("2:3:0.1", "x")[3] == Decimal("2.3")
    assert float(str(values_of("0:1:0.1", "x")[3])) == 0.3  # 3 * 0.1 is 0.30000000000000004
    assert values_of("0.4, 0.1,0.4,off", "x") == [Decimal("0.4"), Decimal("0.1"), OFF]
    assert values_of("1:2:0.3", "x")[-1] == Decimal("1.9")
    assert len(values_of(f"1:{MOST_POINTS}:1", "x")) == MOST_POINTS


WRONG = {
    "quality.max_word_per_s=2:6:0.5": "did you mean 'quality.max_words_per_s'?",
    "qualty.min_words=1": "did you mean 'quality.min_words'?",
    "quality.max_words_per_s": "expected setting=values",
    "quality.max_words_per_s=6:2:0.5": "this range holds no value",
    "quality.max_words_per_s=2:6:0": "this range holds no value",
    "quality.max_words_per_s=2:6": "expected start:stop:step",
    "quality.max_words_per_s=": "expected a number",
    "quality.max_words_per_s=2,x": "expected a number",
    "quality.max_words_per_s=nan": "expected a number",
    "quality.max_words_per_s=1e999999999": "expected a number",
    "quality.max_words_per_s=true": "expected a number or off",
    "quality.max_words_per_s=0:100:0.01": "10001 values are too many",
    "quality.max_words_per_s=0:1e12:1e-12": "too many",
    "passage.min_clips=1.5": "passage.min_clips",
    "passage.min_clips=40": "larger than",
    "passage.max_gap_s=-1": "passage.max_gap_s",
    "speech.min_share=0:2:1": "speech.min_share",
    "speech.enough_s=off": "has no off",
    "language.min_text_probability=off": "has no off",
    "segment.min_s=2:4:1": "segment.min_s cannot be swept",
    "acquire.max_bytes=1": "acquire.max_bytes cannot be swept",
    "language.accept=1": "language.accept cannot be swept",
    "encode.crf=20:30:1": "it does not change what is kept",
    "transcribe.batch_videos=1": "it does not change what is kept",
    "glance.static_difference=1": "a build measures other facts",
}


@pytest.mark.parametrize("asked", WRONG)
def test_sweep_says_in_one_sentence_what_it_cannot_sweep(asked: str) -> None:
    config = config_with()
    with pytest.raises(UsageError) as raised:
        points_of(axes_of([asked], config), config)
    assert WRONG[asked] in str(raised.value)
    assert "\n" not in str(raised.value)


def test_sweep_takes_one_or_two_settings_and_not_one_twice() -> None:
    config = config_with()
    words, clips = "quality.min_words=1:20:1", "passage.min_clips=1:11:1"
    with pytest.raises(UsageError, match="220 points are too many"):
        points_of(axes_of([words, clips], config), config)
    with pytest.raises(UsageError, match="3 settings are too many"):
        axes_of([words, clips, "passage.max_s=10"], config)
    with pytest.raises(UsageError, match="named twice"):
        axes_of([words, words], config)
    found = points_of(axes_of(["quality.min_words=1,2", "passage.min_clips=3,4"], config), config)
    assert [tuple(point.values.values()) for point in found] == [(1, 3), (1, 4), (2, 3), (2, 4)]


def test_sweep_refuses_what_the_facts_of_this_corpus_do_not_decide() -> None:
    with pytest.raises(UsageError, match="the sound alone"):
        axes_of(["speech.min_share=0.1"], config_with("acquire.audio_first=true"))
    captions = config_with('transcribe.captions="prefer"')
    with pytest.raises(UsageError, match="subtitles"):
        axes_of(["language.min_text_probability=0.1"], captions)


def test_sweep_off_is_a_value_that_a_config_may_have() -> None:
    config = config_with()
    assert set(NO_LIMIT) < set(SWEEPABLE)
    for name in NO_LIMIT:
        section, _, key = name.partition(".")
        found = getattr(getattr(point_at(config, {name: OFF}).config, section), key)
        assert found == NO_LIMIT[name]


# A world of which everything is known: a corpus built of it, and built of it otherwise.

SWEPT = {
    "quality.max_words_per_s": ["1", "3", "3.2", "off"],
    "quality.min_speech_share": ["0.3", "0.9", "off"],
    "quality.video_min_words_per_s": ["0.5", "off"],
    "quality.video_min_densest_30s_words": ["50"],
    "passage.min_clips": ["1", "3", "off"],
    "passage.max_clips": ["4", "off"],
    "passage.max_s": ["12", "30", "off"],
    "passage.max_gap_s": ["0", "0.1", "off"],
    "dedup.same_bytes": ["off", "on"],
    "probe.min_s": ["0.1", "40", "off"],
    "probe.max_s": ["50", "150", "off"],
    "glance.max_static_share": ["0.05", "0.5", "off"],
    "speech.min_share": ["0.2", "0.5", "off"],
    "speech.enough_s": ["3", "30"],
    "speech.min_voice_probability": ["0.5", "0.8", "off"],
    "speech.certain_probability": ["0.3", "0.95"],
    "speech.min_probability": ["0.35", "0.95", "off"],
    "speech.min_agreement": ["0.5", "0.9", "off"],
    "language.min_text_probability": ["0.5", "0.95"],
    "language.certain_probability": ["0.42", "0.95", "off"],
}
BASES = (
    ("passage.min_clips=2", "passage.max_s=25"),
    ("passage.min_clips=2", "probe.max_s=100", "glance.max_static_share=0.5"),
    ("passage.min_clips=1", "speech.min_share=0.5", "quality.max_words_per_s=3.2"),
    ("passage.min_clips=1", "dedup.same_bytes=false", "language.certain_probability=0.95"),
    ("passage.min_clips=1", "speech.min_agreement=0.9", "quality.video_min_words_per_s=0.5"),
)


@given(
    worlds(),
    st.sampled_from(BASES),
    st.lists(st.sampled_from(sorted(SWEPT)), min_size=1, max_size=2, unique=True),
    st.data(),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_sweep_gives_what_a_build_from_scratch_gives(
    tmp_path: Path, world: World, base: tuple[str, ...], names: list[str], data: st.DataObject
) -> None:
    config = config_with(*base)
    folder = world.put(tmp_path / "corpus", config)
    asked = [f"{name}={data.draw(st.sampled_from(SWEPT[name]))}" for name in names]
    decider = Decider(read_corpus(Store(str(folder))))
    point = points_of(axes_of(asked, config), config)[0]
    chosen = decider.chosen(point.config)
    truth = world.built(point.config)
    unknown = {f"x_{row}" for row in chosen.unknown}
    known = {v.video_id for v in truth.videos if v.outcome == "kept"} - unknown
    assert chosen.passages.keys() == known  # of the unknown ones none, of the others all
    for video_id in known:
        assert [p.key for p in chosen.passages[video_id]] == [
            p.key for p in truth.passages[video_id]
        ]
        assert [p.clips for p in chosen.passages[video_id]] == [
            p.clips for p in truth.passages[video_id]
        ]
    said = sweep(str(folder), asked)["points"][0]
    lengths = [
        duration_s(p.start_s, p.end_s, video, config)
        for video in truth.videos
        for p in truth.passages.get(video.video_id, [])
        if video.video_id in known
    ]
    clips = [r for r in truth.clips.to_pylist() if r["sample_key"] and r["video_id"] in known]
    assert said["kept"] == {
        "videos": len(known),
        "clips": len(clips),
        "samples": len(lengths),
        "hours": pytest.approx(math.fsum(lengths) / 3600, abs=1e-6),
    }
    assert said["unknown"]["videos"] == len(unknown)


@given(worlds(), st.sampled_from(BASES))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sweep_of_the_values_as_they_are_changes_nothing(
    tmp_path: Path, world: World, base: tuple[str, ...]
) -> None:
    config = config_with(*base)
    folder = world.put(tmp_path / "corpus", config)
    found = sweep(
        str(folder), ["quality.max_words_per_s=" + ("3.2" if "3.2" in str(base) else "7")]
    )
    (point,) = found["points"]
    samples = pq.read_table(folder / "samples.parquet")
    outcomes = pq.read_table(folder / "clips.parquet")["outcome"].to_pylist()
    assert point["stands"]
    assert point["kept"] == found["standing"]
    assert not any(point["difference"].values())
    assert point["unknown"] == {"videos": 0, "hours": 0.0}
    assert point["kept"]["samples"] == len(samples)
    assert point["kept"]["clips"] == outcomes.count("kept")
    sources = found["sources"]
    assert sources["measured"]["videos"] + sources["unmeasured"]["videos"] == len(world.videos)
    assert sum(sources["unmeasured"]["stages"].values()) == sources["unmeasured"]["videos"]


@given(worlds(), st.sampled_from(BASES))
@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sweep_without_settings_turns_each_threshold_off_the_costliest_first(
    tmp_path: Path, world: World, base: tuple[str, ...]
) -> None:
    config = config_with(*base)
    folder = world.put(tmp_path / "corpus", config)
    found = sweep(str(folder))
    hours = [point["difference"]["hours"] for point in found["points"]]
    assert hours == sorted(hours, reverse=True)
    names = [name for point in found["points"] for name in point["values"]]
    assert len(set(names)) == len(names)
    for point in found["points"]:
        (name,) = point["values"]
        alone = sweep(str(folder), [f"{name}=off"])["points"][0]
        assert {k: point[k] for k in ("kept", "unknown")} == {
            k: alone[k] for k in ("kept", "unknown")
        }


# By hand, and what is wrong.

SECONDS = (10.01, 12.0, 9.99)  # of passages; at 25 frames a second 250, 300 and 250 frames


def by_hand(folder: Path) -> Path:
    """A corpus of two kept videos with one and two passages, and one that is too short."""
    clips, videos = [], []
    for n, lengths in enumerate((SECONDS[:1], SECONDS[1:])):
        at_s = 0.0
        for k, length_s in enumerate(lengths):
            half_s = round(length_s / 2, 3)
            ends = ((at_s, at_s + half_s), (at_s + half_s, at_s + length_s))
            for i, (start_s, end_s) in enumerate(ends):
                rate = 5.0 if (n, k) == (1, 1) else 2.5
                place = (2 * k + i, round(start_s, 3), round(end_s, 3))
                clips.append(row(f"x_{n}", *place, words_per_s=rate))
            at_s += length_s + 8
        facts: dict[str, Any] = {"duration_s": 60.0, "fps": 25.0, "width_px": 640, "height_px": 360}
        facts |= {"speech_s": 40.0, "speech_share": 0.6, "voice_probability": 0.9, "words": 40}
        facts |= {"language": "en", "clips_cut": len(lengths) * 2}
        videos.append(Video(video_id=f"x_{n}", url=f"{n}.mp4", location="", **facts))
    short = Video(video_id="x_2", url="2.mp4", location="", duration_s=0.9)
    videos.append(short.ended("rejected", "probe", "too_short"))
    config = config_with("passage.min_clips=2")
    return put_corpus(folder, config, decided(Videos.of(videos), clips_table(clips), config))


def test_sweep_hours_are_whole_frames_summed_by_hand(tmp_path: Path) -> None:
    folder = by_hand(tmp_path / "corpus")
    found = sweep(str(folder), ["quality.max_words_per_s=2:6:2"])
    standing = {"videos": 2, "clips": 6, "samples": 3, "hours": round(32 / 3600, 6)}
    assert found["standing"] == standing
    stricter = {"videos": 2, "clips": 4, "samples": 2, "hours": round(22 / 3600, 6)}
    nothing = {"videos": 0, "clips": 0, "samples": 0, "hours": 0.0}
    assert [point["kept"] for point in found["points"]] == [nothing, stricter, standing]
    change = {"videos": 0, "clips": -2, "samples": -1, "hours": round(-10 / 3600, 6)}
    assert found["points"][1]["difference"] == change
    unmeasured = {"videos": 1, "hours": 0.00025, "stages": {"probe": 1}}
    assert found["sources"]["unmeasured"] == unmeasured


def test_sweep_counts_what_a_looser_early_threshold_lets_in_as_unknown(tmp_path: Path) -> None:
    folder = by_hand(tmp_path / "corpus")
    found = sweep(str(folder), ["probe.min_s=0.5,1,100"])
    counts = [(p["kept"]["videos"], p["unknown"]["videos"]) for p in found["points"]]
    assert counts == [(2, 1), (2, 0), (0, 0)]
    assert found["points"][0]["unknown"]["hours"] == 0.00025


def test_sweep_prints_a_table_that_fits_and_what_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = by_hand(tmp_path / "corpus")
    told_to(capsys, 0, str(folder), "probe.min_s=0.5,off", "passage.min_clips=1,2")
    told_to(capsys, 0, str(folder))
    out = told_to(capsys, 0, str(folder), "probe.min_s=0.5")
    assert "1 of 3 sources" in out
    assert "none of them is counted as kept" in " ".join(out.split())
    assert all(len(line) <= 80 for line in out.splitlines())
    said = json.loads(told_to(capsys, 0, str(folder), "probe.min_s=0.5", "--json"))
    assert said == sweep(str(folder), ["probe.min_s=0.5"])


@pytest.mark.parametrize(
    "asked",
    [
        ["quality.max_words_per_s=2:6:1"],
        ["quality.max_words_per_s=3,4,off"],
        ["probe.min_s=0.5,2"],
        ["quality.max_static_share=off,0.5"],
        ["dedup.same_bytes=on,off"],
        ["quality.max_words_per_s=2:6:2", "probe.min_s=0.5,1,off"],
        [],
    ],
)
def test_sweep_writes_json_and_a_page_with_every_number(tmp_path: Path, asked: list[str]) -> None:
    folder = by_hand(tmp_path / "corpus")
    found = sweep(str(folder), asked)
    found["corpus"] = "<script>alert(1)</script>"
    names = write_sweep(found, str(tmp_path / "out"))
    assert [Path(name).name for name in names] == ["sweep.json", "sweep.html"]
    assert json.loads((tmp_path / "out" / "sweep.json").read_text()) == found
    page = (tmp_path / "out" / "sweep.html").read_text()
    assert "<script>alert" not in page
    for cells in rows_of(found):
        assert all(html.escape(cell) in page for cell in cells)
    data = page.partition('id="data">')[2].partition("</script>")[0]
    charts = json.loads(data)["charts"]
    assert all(f'data-chart="{name}"' in page for name in charts)
    assert {chart["kind"] for chart in charts.values()} <= {"lines", "bars", "heat"}
    write_sweep(found, str(tmp_path / "alone.json"))
    assert json.loads((tmp_path / "alone.json").read_text()) == found


def told_to(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """What `reelscript sweep` says: its output, or the one line of an error."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COLUMNS", "80")
        try:
            cli.main(["sweep", *arguments])
            ended: object = 0
        except SystemExit as error:
            ended = error.code or 0
    out, err = capsys.readouterr()
    assert ended == code
    if not code:
        return out
    (line,) = err.splitlines()
    assert line.startswith("reelscript: ")
    return line


def test_sweep_of_a_wrong_command_line_is_one_sentence_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(by_hand(tmp_path / "corpus"))
    for asked, said in WRONG.items():
        assert said in told_to(capsys, 2, folder, asked)
    three = ["quality.min_words=1", "passage.min_clips=1", "probe.min_s=1"]
    assert "3 settings are too many" in told_to(capsys, 2, folder, *three)


def damaged(folder: Path, how: str) -> str:
    """Damages a corpus; returns a part of what is to be said."""
    clips = pq.read_table(folder / "clips.parquet")
    if how == "no corpus":
        (folder / "dataset.json").unlink()
        return "there is no corpus"
    if how == "no config":
        (folder / "config.yaml").unlink()
        return "config.yaml is missing"
    if how == "config":
        (folder / "config.yaml").write_text("quality: {min_wrods: 3}")
        return "did you mean 'min_words'?"
    if how == "half a table":
        data = (folder / "videos.parquet").read_bytes()
        (folder / "videos.parquet").write_bytes(data[: len(data) // 2])
        return "is not the one that dataset.json names"
    if how == "no table":
        (folder / "clips.parquet").unlink()
        return "clips.parquet is missing"
    changed = {
        "no column": clips.drop_columns(["within_bounds"]),
        "type": clips.set_column(1, "clip_index", pa.array(["a"] * len(clips))),
        "nan": clips.set_column(2, "start_s", pa.array([float("nan")] * len(clips))),
        "beyond": clips.set_column(
            clips.column_names.index("words"), "words", pa.array([1 << 62] * len(clips))
        ),
        "stranger": clips.set_column(0, "video_id", pa.array(["x_9"] * len(clips))),
        "by hand": clips.slice(2),
    }
    pq.write_table(changed[how], folder / "clips.parquet")
    info = json.loads((folder / "dataset.json").read_text())
    del info["tables"]
    (folder / "dataset.json").write_text(json.dumps(info))
    return {
        "no column": "rows without within_bounds",
        "type": "clip_index is no column of int64",
        "nan": "start_s holds NaN",
        "beyond": "words holds a number that counts nothing",
        "stranger": "does not hold each video",
        "by hand": "do not give what stands in the tables for 1 videos, such as x_0",
    }[how]


DAMAGES = ("no corpus", "no config", "config", "half a table", "no table")
CHANGES = ("no column", "type", "nan", "beyond", "stranger", "by hand")


@pytest.mark.parametrize("how", [*DAMAGES, *CHANGES])
def test_sweep_of_a_damaged_corpus_is_one_sentence_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    folder = by_hand(tmp_path / "corpus")
    said = damaged(folder, how)
    assert said in told_to(capsys, 1, str(folder), "quality.min_words=1")


def test_sweep_refuses_a_corpus_whose_settings_were_changed_afterwards(tmp_path: Path) -> None:
    folder = by_hand(tmp_path / "corpus")
    for changed in ("quality.max_words_per_s=3", "probe.min_s=0.5", "passage.max_s=11"):
        config = config_with("passage.min_clips=2", changed)
        (folder / "config.yaml").write_text(config.to_yaml())
        with pytest.raises(DataError, match="a sweep would be off"):
            sweep(str(folder), ["quality.min_words=1"])


@pytest.mark.parametrize("heard", ['{"en": "x"}', '[["en", [1]]]', "[", "7"])
def test_sweep_refuses_languages_that_were_not_heard(tmp_path: Path, heard: str) -> None:
    folder = by_hand(tmp_path / "corpus")
    videos = pq.read_table(folder / "videos.parquet")
    at = videos.column_names.index("heard_languages")
    videos = videos.set_column(at, "heard_languages", pa.array([heard] * len(videos)))
    pq.write_table(videos, folder / "videos.parquet")
    info = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(info | {"tables": {}}))
    with pytest.raises(DataError, match="heard_languages of x_"):
        sweep(str(folder), ["quality.min_words=1"])


def test_sweep_of_a_corpus_of_nothing_is_nothing(tmp_path: Path) -> None:
    config = config_with()
    folder = put_corpus(tmp_path, config, decided(Videos.of([]), clips_table([]), config))
    found = sweep(str(folder), ["quality.min_words=1,off"])
    assert {point["kept"]["hours"] for point in found["points"]} == {0.0}
    assert {point["kept"]["videos"] for point in sweep(str(folder))["points"]} == {0}
