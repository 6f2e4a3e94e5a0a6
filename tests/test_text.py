"""Hostile text made harmless, digests, and the columns of the tables."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import unicodedata
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.schemas.clip import SCORE_NAMES, sample_key
from reelscript.schemas.tables import CLIPS, NOT_PUBLISHED, SAMPLES, VIDEOS, arrow_fields
from reelscript.schemas.text import canonical_json, digest, ms, one_line, score
from reelscript.schemas.video import Video

wild = st.text(st.characters(), max_size=400) | st.text(
    "\x1b[31m \u202e\n\r\u2028\ud800a", max_size=50
)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(wild, st.integers(1, 350))
def test_text_one_line_is_one_printable_line(text: str, most: int) -> None:
    line = one_line(text, most)
    assert len(line) <= most
    assert len(line.splitlines()) <= 1
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in line)
    assert line == line.strip()
    assert "  " not in line
    assert one_line(line, most) == line
    line.encode()


@given(st.text("abc äß字é.", max_size=80))
def test_text_one_line_leaves_harmless_words(text: str) -> None:
    assert one_line(text) == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\x1b[2Jb", "a [2Jb"),
        ("safe\u202egpj.exe", "safe gpj.exe"),
        ("one\ntwo\r\nthree\u2028four", "one two three four"),
        ("\ud800", ""),
        ("abcdef", "abc…"),
    ],
)
def test_text_one_line_by_example(text: str, line: str) -> None:
    assert one_line(text, 4 if line.endswith("…") else 300) == line


@given(plain)
def test_text_canonical_json_reads_back_and_has_one_spelling(value: Any) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value

    def turned(item: Any) -> Any:
        """The same value with every dict filled from its end."""
        if isinstance(item, dict):
            return {k: turned(item[k]) for k in reversed(item)}
        return [turned(x) for x in item] if isinstance(item, list) else item

    assert canonical_json(turned(value)) == data
    assert canonical_json(json.loads(data)) == data
    assert digest(turned(value)) == digest(value)
    ascii_json = json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"))
    assert digest(value) == hashlib.sha256(ascii_json.encode()).hexdigest()


@given(plain, plain)
def test_text_digests_differ_where_values_do(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (canonical_json(one) == canonical_json(other))


def test_text_half_a_surrogate_pair_is_stored_and_read_back() -> None:
    """So Python holds a file name that is no UTF-8."""
    value = {"url": b"caf\xe9.mp4".decode("utf-8", "surrogateescape")}
    assert json.loads(canonical_json(value)) == value
    assert len(digest(value)) == 64


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_text_canonical_json_has_no_nan(bad: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": [bad]})
    assert score(bad) is None


@given(st.floats(-1e6, 1e6))
def test_text_times_and_scores_are_rounded_once(value: float) -> None:
    assert abs(ms(value) - value) <= 0.0005 + 1e-9
    assert ms(ms(value)) == ms(value)
    rounded = score(value)
    assert rounded is not None
    assert abs(rounded - value) <= 5e-7 + 1e-9
    assert score(rounded) == rounded


@given(st.integers(0, 999_999_999))
def test_text_sample_key_says_milliseconds(start_ms: int) -> None:
    assert sample_key("x_1", start_ms / 1000) == f"x_1-{str(start_ms).zfill(9)}"


CONTRACT = {
    "videos": (
        VIDEOS,
        "video_id url outcome stage reason detail duration_s language license source_sha256 "
        "clips_kept clips_rejected",
    ),
    "clips": (CLIPS, "video_id clip_index start_s end_s text outcome reason sample_key"),
    "samples": (
        SAMPLES,
        "key shard split video_id start_s end_s duration_s clips language text mp4_offset mp4_size "
        "mp4_sha256 json_offset json_size txt_offset txt_size",
    ),
}


@pytest.mark.parametrize("table", CONTRACT)
def test_tables_have_the_columns_of_the_contract(table: str) -> None:
    schema, names = CONTRACT[table]
    assert set(names.split()) <= set(schema.names)
    assert len(set(schema.names)) == len(schema.names)
    never = {
        "videos": ["video_id", "outcome"],
        "clips": names.split()[:6],
        "samples": names.split(),
    }
    for name in never[table]:
        assert schema.field(name).nullable == (name == "language")


def test_tables_publish_no_place_and_no_artefact() -> None:
    fields = {f.name for f in dataclasses.fields(Video)}
    assert set(NOT_PUBLISHED) <= fields
    assert set(VIDEOS.names) - {"clips_kept", "clips_rejected", "timings"} == fields - {
        *NOT_PUBLISHED
    }
    assert not {"location", "media"} & set(VIDEOS.names)
    assert set(SCORE_NAMES) <= set(CLIPS.names)


def test_tables_hold_what_records_hold() -> None:
    video = Video(
        video_id="a", url="u", location="l", duration_s=1.5, width_px=3, variable_fps=True
    )
    fields = pa.schema(arrow_fields(Video))
    row = dataclasses.asdict(video)
    assert pa.Table.from_pylist([row], schema=fields).to_pylist() == [row]
    kinds = {f.name: f.type for f in fields}
    assert kinds["duration_s"] == pa.float64()
    assert kinds["width_px"] == pa.int64()
    assert kinds["variable_fps"] == pa.bool_()
    assert kinds["outcome"] == pa.string()
    assert not fields.field("outcome").nullable
    assert fields.field("reason").nullable
