"""Subtitle files to words: formats, what is left out, times, and files that mean harm."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.pipeline.errors import StageError
from reelscript.schemas.transcript import Word
from reelscript.transforms import caption_timing
from reelscript.transforms.caption_cleaning import cleaned, overlap
from reelscript.transforms.caption_formats import MAX_BYTES, MAX_CUE_CHARS, MAX_CUES, cues_of
from reelscript.transforms.caption_timing import LETTER_S, timed_words
from reelscript.transforms.captions import transcript_of


def repr_of(value: object) -> str:
    return repr(value)[:9]


def clock(seconds: float, comma: str = ".") -> str:
    ms = round(seconds * 1000)
    whole = ms // 1000
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{comma}{ms % 1000:03}"


def vtt(*cues: tuple[float, float, str]) -> bytes:
    blocks = [f"{clock(start)} --> {clock(end)}\n{text}\n" for start, end, text in cues]
    return "\n".join(["WEBVTT\n", *blocks]).encode()


def words_of(data: bytes) -> list[Word]:
    return transcript_of(data)[0].words


def said(data: bytes) -> str:
    return "".join(word.word for word in words_of(data)).strip()


def starts(data: bytes) -> list[float | None]:
    return [word.start_s for word in words_of(data)]


# Formats.

HEADED = """\ufeffWEBVTT - a title
Kind: captions
Language: en

STYLE
::cue(.loud) { color: red }

REGION
id:below width:40%

NOTE
00:00:00.000 is not a cue

one
00:01.000 --> 00:02.500 align:start position:0% region:below
<v.loud Mary>Fish &amp; <i>chips</i></v> &lt;3,
<00:00:02.000>hot

01:00:00.000 --> 01:00:01.000
an hour later
"""


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_captions_webvtt_is_read_with_all_that_may_stand_in_it(end: str) -> None:
    name, (first, second) = cues_of(HEADED.replace("\n", end).encode())
    assert name == "vtt"
    assert (first.start_s, first.end_s) == (1.0, 2.5)
    assert first.text == "Fish & chips <3,\nhot"
    assert first.times[-1] == (len("Fish & chips <3,\n"), 2.0)
    assert (second.start_s, second.text) == (3600.0, "an hour later")


def test_captions_subrip_is_read_as_people_write_it() -> None:
    text = (
        "1\r\n00:00:01,000 --> 00:00:02,000\r\n<font color='red'>{\\an8}Hello</font>\r\n\r\n"
        "2\r\n00:00:02.500 --> 00:00:03,000\r\nthere, in 1999\r\n\r\nafter a gap\r\n"
        "3\r\n0:00:04,000 --> 0:00:05,000\r\nend"
    )
    for data in (text.encode(), text.encode("utf-8-sig"), text.encode("utf-16")):
        name, cues = cues_of(data)
        assert name == "srt"
        assert [(c.start_s, c.end_s, c.text) for c in cues] == [
            (1.0, 2.0, "Hello"),
            (2.5, 3.0, "there, in 1999\nafter a gap"),
            (4.0, 5.0, "end"),
        ]


def json3(*events: dict[str, Any]) -> bytes:
    return json.dumps({"wireMagic": "pb3", "events": list(events)}).encode()


def test_captions_json3_gives_the_times_of_words() -> None:
    segs = [{"utf8": "so"}, {"utf8": " it", "tOffsetMs": 240}, {"utf8": " goes", "tOffsetMs": 500}]
    data = json3(
        {"tStartMs": 0, "dDurationMs": 9000, "id": 1, "wpWinPosId": 1},
        {"tStartMs": 1000, "dDurationMs": 4000, "wWinId": 1, "segs": segs},
        {
            "tStartMs": 3000,
            "dDurationMs": 2000,
            "wWinId": 1,
            "aAppend": 1,
            "segs": [{"utf8": "\n"}],
        },
        {"tStartMs": 3010, "dDurationMs": 3000, "wWinId": 1, "segs": [{"utf8": "on"}]},
    )
    words = words_of(data)
    assert [(w.word, w.start_s) for w in words] == [
        *((" so", 1.0), (" it", 1.24), (" goes", 1.5), (" on", 3.01)),
    ]
    assert not any(w.interpolated for w in words)
    manual = json3({"tStartMs": 0, "dDurationMs": 2000, "segs": [{"utf8": "two\nlines"}]})
    assert [w.interpolated for w in words_of(manual)] == [True, True]


def test_captions_json3_times_that_cannot_be_are_not_believed() -> None:
    """One behind the next event; and one of two signs, of which only the first has a time."""
    late = [{"utf8": "你好"}, {"utf8": "世界", "tOffsetMs": 500}, {"utf8": "吧", "tOffsetMs": 5000}]
    words = words_of(
        json3(
            {"tStartMs": 1000, "dDurationMs": 9000, "segs": late},
            {"tStartMs": 3000, "dDurationMs": 9000, "segs": [{"utf8": "好"}]},
        )
    )
    assert "".join(w.word for w in words) == "你好世界吧好"
    assert [w.interpolated for w in words] == [False, True, False, True, True, False]
    assert [words[k].start_s for k in (0, 2, 5)] == [1.0, 1.5, 3.0]


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"hello", b"{}", b'{"events": 3}', b'{"events": [3]}', b'{"events": {"a": 1}}'),
        b'{"events": ' + b"[" * 100_000,
        *("WEBVTT\n\n00:01.000 --> 00:02.000\ncaf\u00e9".encode("latin-1"), b"\xff\xfea"),
        *(b"\x00\x01\x02", b"\xff\xfe", b"PK\x03\x04" + b"\x00" * 99),
        b'{"events": [{"tStartMs": 1, "segs": [1]}]}',
    ],
)
def test_captions_of_no_known_format_are_refused(data: bytes) -> None:
    with pytest.raises(StageError) as raised:
        transcript_of(data)
    assert raised.value.kind == "bad_captions"


@pytest.mark.parametrize("data", [vtt(), vtt((0, 1, "[Music]")), vtt((0, 1, "")), json3()])
def test_captions_that_say_nothing_are_refused(data: bytes) -> None:
    with pytest.raises(StageError) as raised:
        transcript_of(data)
    assert raised.value.kind == "no_captions"


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -5, "1", None, True, 10**400], ids=repr_of
)
def test_captions_json3_events_at_no_time_are_left_out(value: Any) -> None:
    good = {"tStartMs": 1000, "dDurationMs": 500, "segs": [{"utf8": "good"}]}
    bad = {"tStartMs": value, "dDurationMs": 500, "segs": [{"utf8": "bad"}]}
    data = json3(bad, good)
    assert said(data) == "good"


# What is left out.


def test_captions_rolling_as_in_the_picture() -> None:
    data = vtt(
        (1.6, 3.9, " \nthis<00:00:02.000><c> audiobook</c>"),
        (3.9, 3.91, "this audiobook\n "),
        (3.91, 5.3, "this audiobook\nis<00:00:04.200><c> in</c>"),
        (5.3, 5.31, "is in\n "),
        (5.31, 6.0, "is in\npublic"),
    )
    transcript, counts = transcript_of(data)
    assert "".join(w.word for w in transcript.words) == " this audiobook is in public"
    assert [w.start_s for w in transcript.words] == [1.6, 2.0, 3.91, 4.2, 5.31]
    assert not any(w.interpolated for w in transcript.words)
    assert (counts["repeated_words"], transcript.model) == (8, "automatic")


FEW = st.lists(st.sampled_from(["no", "yes", "la", "oh"]), min_size=1, max_size=4)


@given(st.lists(FEW, min_size=2, max_size=12))
@settings(max_examples=200, deadline=None)
def test_captions_rolling_gives_each_word_once_at_its_time(lines: list[list[str]]) -> None:
    """As YouTube writes them; words that are really said twice stay, however alike lines are."""
    cues, expected, shown = [], [], " "
    at_s = 1.0
    for number, line in enumerate(lines):
        times = [round(at_s + 0.3 * k, 3) for k in range(len(line))]
        expected += list(zip(line, times, strict=True))
        marked = line[0] + "".join(
            f"<{clock(t)}><c> {w}</c>" for w, t in zip(line[1:], times[1:], strict=True)
        )
        end_s = round(times[-1] + 0.3, 3)
        cues.append((at_s, end_s, f"{shown}\n{marked}"))
        shown = " " if number % 4 == 3 else " ".join(line)  # after a pause nothing is shown
        cues.append((end_s, end_s + 0.01, f"{shown}\n "))
        at_s = round(end_s + 0.01, 3)
    found = cleaned(cues_of(vtt(*cues))[1])
    words = timed_words(found.lines)
    assert [w.word.strip() for w in words] == [w for w, _ in expected]
    if len({len(line) for line in lines}) > 1 or len(lines[0]) > 1:  # else no word has a time
        assert [w.start_s for w in words] == [t for _, t in expected]


def test_captions_kind_is_what_the_giver_says_else_what_it_looks_like() -> None:
    by_cue, by_word = vtt((0, 1, "so it goes")), vtt((0, 1, "so<00:00:00.500> on"))
    assert transcript_of(by_cue)[0].model == "unknown"
    assert transcript_of(by_word)[0].model == "automatic"
    assert transcript_of(by_word, "manual")[0].model == "manual"


def test_captions_that_grow_word_by_word_are_said_once() -> None:
    text = ["and", "so", "it", "goes"]
    cues = [(k, k + 1, " ".join(text[: k + 1])) for k in range(len(text))]
    assert said(vtt(*cues)) == "and so it goes"


def test_captions_said_again_after_a_pause_are_no_rolling_repeat() -> None:
    cues = [
        (0, 1, "and"),
        (1, 2, "and\nso it"),
        (2, 3, "so it\ngoes on"),
        (3, 4, "goes on\nand on"),
    ]
    assert said(vtt(*cues, (9, 10, "and on"))) == "and so it goes on and on and on"


@pytest.mark.parametrize("gap_s", [0.0, 0.5])
def test_captions_rolling_with_gaps_between_cues_are_said_once(gap_s: float) -> None:
    lines = ["we walk", "along the river", "and look", "at the boats", "and the boats", "at us"]
    pairs = [lines[0], *(f"{a}\n{b}" for a, b in pairwise(lines))]
    cues = [(k, k + 1 - gap_s, text) for k, text in enumerate(pairs)]
    assert said(vtt(*cues)) == " ".join(lines)


@pytest.mark.parametrize(
    "texts",
    [
        ["No.", "No.", "I said no.", "And you heard me", "say it", "loud and clear."],
        ["Well, I would never", "Never do that."],
        ["I would never", "never do", "do that", "that again"],
        ["Go, go, go", "go away", "Now stop", "stop."],
        ["No."] * 3,
        ["We want more!"] * 6,
    ],
)
def test_captions_of_people_keep_their_repeats(texts: list[str]) -> None:
    cues = [(k, k + 1, text) for k, text in enumerate(texts)]
    assert said(vtt(*cues)) == " ".join(texts)


def test_captions_shown_again_for_a_moment_are_a_repeat_in_any_file() -> None:
    assert said(vtt((0, 1, "so it"), (1, 1.01, "so it"), (2, 3, "goes"))) == "so it goes"


LETTERS = st.lists(st.sampled_from("ab"), max_size=6)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=6), LETTERS)
def test_captions_overlap_is_the_most_whole_lines(
    marked: list[tuple[str, bool]], now: list[str]
) -> None:
    before, opens = [letter for letter, _ in marked], [opens for _, opens in marked]
    fitting = [
        len(before) - k
        for k in range(len(before))
        if opens[k] and now[: len(before) - k] == before[k:]
    ]
    assert overlap(before, now, opens) == max(fitting, default=0)


@pytest.mark.parametrize(
    ("text", "left", "sounds", "speakers"),
    [
        ("[Music]", "", 1, 0),
        ("so [upbeat music\nplaying] we go", "so we go", 1, 0),
        ("what the [ __ ]", "what the", 1, 0),
        ("(audience laughs and claps for long)", "", 1, 0),
        ("Thank you. (applause)", "Thank you.", 1, 0),
        ("I was (and I still am) there", "I was (and I still am) there", 0, 0),
        ("♪ We are the champions ♪", "", 1, 0),
        ("and then ♪ we sang\nit all", "and then it all", 1, 0),
        ("♪ We are the champions\nof the world ♪\nhe sang", "he sang", 1, 0),
        ("♪ We are\n♪ the champions\nhe sang", "he sang", 2, 0),
        ("♪ We are ♪\nand ♪ the champions ♪", "and", 2, 0),
        ("-5 degrees\n- Cold!", "-5 degrees Cold!", 0, 1),
        (">> Hello. >> Hi.", "Hello. Hi.", 0, 2),
        ("&gt;&gt; MARY: Hello", "Hello", 0, 1),
        ("- Who is it?\n- Me.", "Who is it? Me.", 0, 2),
        ("NAR: This is", "This is", 0, 1),
        ("МАРИЯ: Привет", "Привет", 0, 1),
        ("Two things: first", "Two things: first", 0, 0),
        ("in - in a bad humor", "in in a bad humor", 0, 0),
        ("R & D, 50 % -5", "R & D, 50 % -5", 0, 0),
        ("<script>alert(1)</script>", "alert(1)", 0, 0),
        ("<ruby>漢<rt>かん</rt></ruby>字", "漢字", 0, 0),
        ("a\u202eb\x1b[31m", "ab 31m", 0, 0),
        ("2 < 3", "2 3", 0, 0),
        ("x" * 101 + " y", "y", 0, 0),
        ("[[[ ((( ♪", "", 1, 0),
    ],
)
def test_captions_are_only_what_is_said(text: str, left: str, sounds: int, speakers: int) -> None:
    found = cleaned(cues_of(vtt((0, 9, text), (20, 21, "end")))[1])
    assert "".join(w.word for w in timed_words(found.lines)).strip() == f"{left} end".strip()
    assert (found.sounds, found.speakers) == (sounds, speakers)


def test_captions_times_stand_before_a_word_or_the_space_before_it() -> None:
    data = vtt((1, 9, "a <00:00:02.000>b<00:00:03.000> c<00:00:04.000>d <00:00:05.000><c>e</c>"))
    words = words_of(data)
    assert "".join(w.word for w in words) == " a b cd e"
    assert [w.start_s for w in words] == [1.0, 2.0, 3.0, 5.0]
    assert not any(w.interpolated for w in words)


def test_captions_without_spaces_are_words_of_one_sign() -> None:
    words = words_of(vtt((0, 2, "你好，GPU 世界。"), (2, 3, "สวัสดี")))
    assert [w.word for w in words[:5]] == ["你", "好，", "GPU", "世", "界。"]
    assert "".join(w.word for w in words[5:]) == "สวัสดี"


# Times.


def test_captions_words_share_their_cue_by_letters() -> None:
    words = words_of(vtt((10, 11, "a bbb cc ddddddd")))  # 2 + 4 + 3 + 8 letters with spaces
    assert [w.start_s for w in words] == pytest.approx(
        [10, 10 + 2 / 17, 10 + 6 / 17, 10 + 9 / 17], abs=0.001
    )
    assert words[-1].end_s == 11.0
    assert all(w.interpolated for w in words)


def test_captions_words_end_where_a_slow_speaker_would() -> None:
    (word,) = words_of(vtt((10, 20, "Hello")))
    assert (word.start_s, word.end_s) == (10.0, pytest.approx(10 + 6 * LETTER_S))


def test_captions_after_the_end_of_the_video_are_not_said_in_it() -> None:
    data = vtt((1, 2, "one"), (9, 30, "two three"), (10, 11, "four five"), (12, 13, "six"))
    transcript, counts = transcript_of(data, end_s=9.5)
    assert "".join(w.word for w in transcript.words) == " one two three"
    assert transcript.words[-1].end_s == 9.5
    assert [counts["words"], counts["beyond_end"]] == [3, 3]
    data = vtt((1, 9, "a<00:00:02.000> b<00:00:03.000> c<00:00:04.000> d"))
    words = transcript_of(data, end_s=3.0)[0].words
    assert [(w.word, w.start_s) for w in words] == [(" a", 1.0), (" b", 2.0)]
    with pytest.raises(StageError, match="no words of the video"):
        transcript_of(data, end_s=1.0)


def test_captions_in_disorder_come_in_order() -> None:
    data = vtt((5, 6, "three"), (1, 9, "one"), (2, 2, "two"), (5, 6, "three"), (7, 3, "four"))
    assert said(data) == "one two three four"
    assert starts(data) == [1.0, 2.0, 5.0, 7.0]
    assert words_of(data)[0].end_s <= 2.0  # type: ignore[operator]


def test_captions_of_two_at_once_both_count() -> None:
    assert said(vtt((1, 3, "left"), (1, 2, "right"), (2, 3, "after"))) == "left right after"


def test_captions_times_outside_of_their_cue_are_not_believed() -> None:
    data = vtt((1, 3, "a<00:00:02.000> b<00:00:01.500> c<00:00:09.000> d<00:00:02.500> e"))
    assert [w.interpolated for w in words_of(data)] == [False, False, True, True, False]
    assert sorted(starts(data)) == starts(data)  # type: ignore[type-var]


PIECES = st.sampled_from(
    [
        *("WEBVTT\n\n", "00:01.000 --> 00:02.000\n", "00:00:01,500 --> 00:00:01,000\n", "1\n"),
        *("<00:00:01.200>", "<c>", "</c>", "no ", "[", "]", "(", ")", "♪", ">>", "- ", "A: "),
        *('{"events":[', '{"tStartMs":5,"segs":[{"utf8":"a"}]},', "]}", "\r", "\n\n", "&#9999;"),
        *("\u2028", "你"),
    ]
)


@given(st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join))
@settings(max_examples=300, deadline=None)
def test_captions_of_whatever_text_are_words_in_order_or_one_error(text: str) -> None:
    try:
        words = words_of(text.encode("utf-8", "surrogatepass"))
    except StageError:
        return
    assert words
    assert all(0 <= w.start_s <= w.end_s for w in words)  # type: ignore[operator]
    assert all(a.end_s <= b.start_s + 0.0011 for a, b in pairwise(words))  # type: ignore[operator]
    assert all(w.word.strip() and w.word.isprintable() for w in words)


ONE = "00:00:00.000 --> 00:00:01.000\n"


@pytest.mark.parametrize(
    "text",
    [
        "WEBVTT\n\n" + ONE + "a" * (MAX_CUE_CHARS + 1),
        "WEBVTT\n\n" + ONE + "&#" + "9" * (MAX_CUE_CHARS + 1) + ";",
        "WEBVTT\n\n" + ONE + "a\n" * MAX_CUE_CHARS,
        "WEBVTT\n\n" + (ONE + "a\n\n") * (MAX_CUES + 1),
        "WEBVTT\n\n" + " " * MAX_BYTES,
        "1\n" + ONE + "<" * 10**6,
        json.dumps({"events": [{"tStartMs": 1, "segs": [{"utf8": " a"}] * 9999}]}),
        '{"events": [' + "{}," * MAX_CUES + "{}]}",
    ],
)
def test_captions_that_are_too_much_are_refused(text: str) -> None:
    with pytest.raises(StageError, match=r"at most|more than"):
        transcript_of(text.encode())


def test_captions_many_words_are_each_placed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placed = 0
    ms = caption_timing.ms

    def counting(seconds: float) -> float:
        nonlocal placed
        placed += 1
        return ms(seconds)

    monkeypatch.setattr(caption_timing, "ms", counting)
    rng = random.Random(1)
    lines = [" ".join(rng.choices("abcdefg", k=50)) for _ in range(2000)]
    words = words_of(vtt(*((k, k + 1, line) for k, line in enumerate(lines))))
    assert (len(words), placed) == (100_000, 200_000)
