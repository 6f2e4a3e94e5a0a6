"""Subtitles as a stage: which file, whether it is believed, and what transcribe makes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelscript.jobs.config import Config, config_from
from reelscript.jobs.measure import chain_of
from reelscript.jobs.sources.listing import list_sources
from reelscript.pipeline.errors import StageError
from reelscript.pipeline.stage import apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.transcript import Span, Transcript, Voice, Window, Word
from reelscript.schemas.video import Video
from reelscript.transforms import transcribe as transcribing
from reelscript.transforms.acquire import Acquire
from reelscript.transforms.align import Align
from reelscript.transforms.caption_formats import MAX_BYTES
from reelscript.transforms.caption_timing import NEAR_S, fit
from reelscript.transforms.captions import MAX_LOCATION_CHARS, Captions
from reelscript.transforms.local_file import file_signature
from reelscript.transforms.recogniser import Decoded
from reelscript.transforms.transcribe import Transcribe
from reelscript.transforms.web.download import Limits
from reelscript.transforms.web.terms import Web
from tests.test_captions import vtt

# Whether they belong to what is heard.

INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=6)


def laid_out(gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Disjoint spans in order, in tenths of a second."""
    out, at = [], 0
    for gap, length in gaps:
        out.append((at + gap, at + gap + length))
        at += gap + length
    return out


@given(INTERVALS, INTERVALS)
@settings(deadline=None)
def test_captions_fit_is_what_a_loop_finds(
    one: list[tuple[int, int]], two: list[tuple[int, int]]
) -> None:
    near = round(NEAR_S * 10)

    def share(spans: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        ticks = [t for a, b in spans for t in range(a, b)]
        inside = [t for t in ticks if any(a - near <= t < b + near for a, b in others)]
        return len(inside) / len(ticks) if ticks else 0.0

    spoken, heard = laid_out(one), laid_out(two)
    words = [Word(" a", a / 10, b / 10, None, 0) for a, b in spoken]
    found = fit(words, [Span(a / 10, b / 10) for a, b in heard])
    assert found == pytest.approx(min(share(spoken, heard), share(heard, spoken)))


# The stage.

TALK = [
    "we walk along the river and look at the boats",
    "one of them carries sand and another one wood",
    "behind the bridge the water becomes quiet and deep",
]


def talk(shift_s: float = 0.0, lines: list[str] = TALK) -> bytes:
    return vtt(*((shift_s + 4 * k, shift_s + 4 * k + 3.5, text) for k, text in enumerate(lines)))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")


def heard(workspace: Workspace, file: Path | None = None, **changed: Any) -> Video:
    """A video with voice in its first 12 s, in English, and a file of subtitles."""
    voice = workspace.put_record(Voice([Span(0, 3.5), Span(4, 7.5), Span(8, 11.5)], [], []))
    video = Video(video_id="v", url="v.mp4", location="/v.mp4", voice=voice, language="en")
    if file is not None:
        at = {"captions_location": str(file), "captions_signature": file_signature(str(file))}
        video = replace(video, **at)
    return replace(video, **changed)


def captioned(workspace: Workspace, video: Video, stage: Captions | None = None) -> Video:
    stage = stage or Captions(("en",))
    with stage.open() as live:
        after, timing = apply(stage, live, video, workspace)
    assert timing.trace is None, timing.trace
    assert after.pending
    return after


def test_captions_that_fit_are_a_transcript(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "v.vtt"
    file.write_bytes(talk())
    after = captioned(workspace, heard(workspace, file))
    transcript = workspace.get_record(Transcript, after.captions)
    assert "".join(w.word for w in transcript.words).split() == " ".join(TALK).split()
    assert (transcript.source, transcript.language, transcript.model) == (
        "captions",
        "en",
        "unknown",
    )
    assert after.captions_fault is None
    assert json.loads(after.captions_counts or "")["words"] == len(transcript.words)


def test_captions_of_nowhere_are_nothing(workspace: Workspace) -> None:
    after = captioned(workspace, heard(workspace))
    assert (after.captions, after.captions_fault, after.captions_counts) == (None, None, None)


GERMAN = [
    "wir gehen am Fluss entlang und sehen uns die Boote an",
    "eines davon hat Sand geladen und ein anderes Holz",
    "hinter der Brücke wird das Wasser ruhig und tief",
]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (talk(shift_s=60), "captions_misfit"),  # of another cut
        (talk(lines=TALK[:1]), "captions_misfit"),  # of a part
        (talk(lines=GERMAN), "captions_language"),
        (b"hello", "bad_captions"),
        (b" " * (MAX_BYTES + 1), "bad_captions"),
        (vtt((0, 12, "[Music]")), "no_captions"),
    ],
)
def test_captions_that_are_of_no_use_say_why(
    workspace: Workspace, tmp_path: Path, data: bytes, kind: str
) -> None:
    file = tmp_path / "v.vtt"
    file.write_bytes(data)
    after = captioned(workspace, heard(workspace, file))
    assert after.captions is None
    assert (after.captions_fault or "").startswith(f"{kind}: ")


def test_captions_files_that_cannot_be_read_say_why(workspace: Workspace, tmp_path: Path) -> None:
    places = {
        "not_found": str(tmp_path / "absent.vtt"),
        "not_a_file": str(tmp_path),
        "unsupported_scheme": "file:///etc/passwd",
    }
    for kind, place in places.items():
        after = captioned(workspace, heard(workspace, captions_location=place))
        assert (after.captions_fault or "").startswith(f"{kind}: "), after.captions_fault
        assert str(tmp_path) not in (after.captions_fault or "")


def test_captions_that_changed_since_they_were_listed_are_not_taken(
    workspace: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "v.vtt"
    file.write_bytes(talk())
    video = heard(workspace, file)
    file.write_bytes(talk() + b"\n")
    assert (captioned(workspace, video).captions_fault or "").startswith("changed: ")
    again = heard(workspace, file)
    assert Captions().key(video) != Captions().key(again)
    assert captioned(workspace, again).captions is not None


def test_captions_are_fetched_from_a_store(workspace: Workspace) -> None:
    store = Store("memory://captions")
    store.put("v.vtt", talk())
    video = heard(workspace, captions_location="memory://captions/v.vtt")
    assert captioned(workspace, video).captions is not None
    store.put("w.vtt", b" " * (MAX_BYTES + 1))
    video = heard(workspace, captions_location="memory://captions/w.vtt")
    assert (captioned(workspace, video).captions_fault or "").startswith("too_large: ")
    assert list((workspace.scratch / "v").iterdir()) == []


def test_captions_that_could_not_be_fetched_are_fetched_the_next_time(
    workspace: Workspace,
) -> None:
    video = heard(workspace, captions_location="memory://late-captions/v.vtt")
    assert captioned(workspace, video).captions_fault is not None
    Store("memory://late-captions").put("v.vtt", talk())
    assert captioned(workspace, video).captions is not None


def test_captions_hold_a_worker_for_a_minute_at_most(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Limits] = []

    def fetch_file(_url: str, _target: Path, web: Web) -> NoReturn:
        asked.append(web.limits)
        raise StageError("timed_out", "busy")

    monkeypatch.setattr("reelscript.transforms.captions.fetch_file", fetch_file)
    video = heard(workspace, captions_location="https://x.org/v.vtt")
    captioned(workspace, video)
    captioned(workspace, video, Captions(fetching=Acquire(total_s=5, retries=0)))
    assert [(a.max_bytes, a.total_s, a.retries) for a in asked] == [
        *((MAX_BYTES, 60, 1), (MAX_BYTES, 5, 0)),
    ]


def test_captions_addresses_are_whole_or_refused(workspace: Workspace, tmp_path: Path) -> None:
    signed = "https://x.org/v.vtt?signature=" + "a" * 3000
    too_long = "https://x.org/v.vtt?" + "a" * MAX_LOCATION_CHARS
    table = pa.table(
        {"url": ["https://x.org/v", "https://x.org/w"], "subtitles": [signed, too_long]}
    )
    pq.write_table(table, tmp_path / "list.parquet")
    kept, refused = list_sources("list.parquet", tmp_path, ("en",))
    assert kept.captions_location == signed
    after = captioned(workspace, heard(workspace, captions_location=refused.captions_location))
    assert (after.captions_fault or "").startswith("bad_address: ")


# What transcribe makes of them.


class Deaf:
    """A recogniser that hears one word, or none; it counts how often it is asked."""

    asked = 0
    words: Sequence[Word] = ()
    language = "en"

    def __init__(self, *_: object) -> None:
        pass

    def decode(self, _first: object = None) -> list[Decoded]:
        type(self).asked += 1
        return [Decoded(Window(0, 9, -0.1, 0.1, 1.0, 0, "batched", False), list(self.words))]


def no_model(*_: object) -> NoReturn:
    raise AssertionError("a model was loaded")


@pytest.fixture
def recogniser(monkeypatch: pytest.MonkeyPatch) -> type[Deaf]:
    class Counted(Deaf):
        asked = 0
        words = ()

    monkeypatch.setattr(transcribing, "Recogniser", Counted)
    monkeypatch.setattr(transcribing, "scratch_audio", lambda *_: None)
    monkeypatch.setattr(transcribing.whisper, "resident", lambda *_: None)
    monkeypatch.setattr(transcribing.whisper, "fingerprint", lambda name: name)
    return Counted


HEARD = [Word(" hello", 1.0, 1.5, 0.9, 0)]


@pytest.mark.parametrize(
    ("captions", "heard_words", "source", "asked"),
    [
        ("ignore", HEARD, "asr", 1),
        ("fallback", HEARD, "asr", 1),
        ("fallback", [], "captions", 1),
        ("prefer", HEARD, "captions", 0),
    ],
)
def test_captions_take_the_place_of_recognition(
    workspace: Workspace,
    tmp_path: Path,
    recogniser: type[Deaf],
    monkeypatch: pytest.MonkeyPatch,
    captions: Any,
    heard_words: list[Word],
    source: str,
    asked: int,
) -> None:
    recogniser.words = heard_words
    if captions == "prefer":
        monkeypatch.setattr(transcribing.whisper, "resident", no_model)
    file = tmp_path / "v.vtt"
    file.write_bytes(talk())
    video = captioned(workspace, heard(workspace, file))
    after = transcribed(workspace, video, captions)
    assert (after.transcript_source, recogniser.asked) == (source, asked)
    transcript = workspace.get_record(Transcript, after.transcript)
    assert (transcript.source, len(transcript.words)) == (source, after.words)


def transcribed(workspace: Workspace, video: Video, captions: Any) -> Video:
    stage = Transcribe(model="tiny.en", accept=("en",), captions=captions)
    with stage.open() as live:
        after, timing = apply(stage, live, video, workspace)
    assert timing.trace is None, timing.trace
    return after


def test_captions_that_are_not_there_change_no_result(
    workspace: Workspace, recogniser: type[Deaf]
) -> None:
    recogniser.words = HEARD
    for captions in ("ignore", "fallback", "prefer"):
        after = transcribed(workspace, captioned(workspace, heard(workspace)), captions)
        assert after.transcript_source == "asr"
    assert recogniser.asked == 1  # the other two remember what the first one heard


@pytest.mark.parametrize("order", [("ignore", "fallback"), ("fallback", "ignore")])
def test_captions_as_fallback_recognise_nothing_twice(
    workspace: Workspace, tmp_path: Path, recogniser: type[Deaf], order: tuple[str, str]
) -> None:
    file = tmp_path / "v.vtt"
    file.write_bytes(talk())
    video = captioned(workspace, heard(workspace, file))
    found = {captions: transcribed(workspace, video, captions) for captions in order}
    assert found["ignore"].words == 0
    assert found["fallback"].transcript_source == "captions"
    file.write_bytes(talk(lines=[*TALK[:2], "behind the bridge the water is quiet"]))
    changed = captioned(workspace, heard(workspace, file))
    assert transcribed(workspace, changed, "fallback").words != found["fallback"].words
    assert recogniser.asked == 1


@pytest.mark.usefixtures("recogniser")
def test_captions_as_fallback_remember_what_hearing_cost(
    workspace: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "v.vtt"
    file.write_bytes(talk())
    video = captioned(workspace, heard(workspace, file))
    transcribed(workspace, video, "fallback")

    plain = Transcribe(model="tiny.en", accept=("en",))
    kept = workspace.remembered("transcribe", plain.key(replace(video, captions=None)))

    assert kept is not None
    assert kept["cpu_s"] >= 0


@pytest.mark.usefixtures("recogniser")
def test_captions_that_are_ignored_are_no_setting() -> None:
    """What was measured before there were captions stands."""
    ignored, preferred = (Transcribe(captions=c) for c in ("ignore", "prefer"))  # type: ignore[arg-type]
    assert "captions" not in ignored.all_settings()
    assert ignored.settings() == preferred.settings()
    assert chain_of([ignored]) != chain_of([preferred])
    names = [stage.name for stage in Config().measuring()]
    assert "captions" not in names
    asked = config_from({"transcribe": {"captions": "fallback"}}, "here").measuring()
    assert [s.name for s in asked if s.name not in names] == ["captions"]


@pytest.mark.usefixtures("recogniser")
def test_captions_words_depend_on_the_file_and_on_no_model() -> None:
    video = Video(video_id="v", url="v", location="v", language="en", captions="one")
    preferred = Transcribe(model="a", captions="prefer", accept=("en",))
    assert preferred.key(video) == replace(preferred, beam_size=9).key(video)
    assert preferred.key(video) != preferred.key(replace(video, captions="two"))
    assert preferred.key(video) != preferred.key(replace(video, language_probability=0.7))
    fallback = replace(preferred, captions="fallback")
    assert fallback.key(video) != fallback.key(replace(video, captions="two"))
    ignored = replace(preferred, captions="ignore")
    assert ignored.key(video) == ignored.key(replace(video, captions=None))


def test_captions_interpolated_words_stay_marked(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "v.vtt"
    file.write_bytes(talk())
    video = captioned(workspace, replace(heard(workspace, file), duration_s=12.0))
    stage = Align()
    with stage.open() as live:
        after, _ = apply(stage, live, replace(video, transcript=video.captions), workspace)
    assert after.interpolated_words == len(workspace.get_records(Word, after.aligned_words)) > 20


# Which file it is.


def found(folder: Path, *languages: str, sources: str = ".") -> dict[str, tuple[str | None, bool]]:
    """By file name: the name of its subtitles, and whether they have a signature."""
    listed = list_sources(sources, folder, languages)
    return {
        Path(v.location).name: (
            v.captions_location and Path(v.captions_location).name,
            v.captions_signature is not None,
        )
        for v in listed
    }


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_captions_beside_a_video_are_found(tmp_path: Path) -> None:
    touched(
        tmp_path, "a.mp4", "a.vtt", "a.en.srt", "b.mp4", "b.de.vtt", "c.mp4", "c.srt", "c.json3"
    )
    touched(tmp_path, "d.mp4", "e.mp4", "x.vtt", "elsewhere/d.vtt")
    (tmp_path / "e.vtt").symlink_to(tmp_path / "x.vtt")
    assert found(tmp_path, "en") == {
        "a.mp4": ("a.en.srt", True),
        "b.mp4": (None, False),
        "c.mp4": ("c.json3", True),
        "d.mp4": (None, False),
        "e.mp4": (None, False),
    }
    assert found(tmp_path, "fr", "de")["b.mp4"] == ("b.de.vtt", True)


def test_captions_beside_a_video_may_name_their_language_in_many_ways(tmp_path: Path) -> None:
    touched(tmp_path, "a.mp4", "a.en-US.vtt", "b.mp4", "b.en-orig.json3", "b.EN.VTT", "c.mp4")
    touched(tmp_path, "c.Srt", "c.english.vtt", "d.x.mp4", "d.x.en-GB.vtt", "e.mp4", "e.end.vtt")
    assert found(tmp_path, "de", "en") == {
        "a.mp4": ("a.en-US.vtt", True),
        "b.mp4": ("b.EN.VTT", True),
        "c.mp4": ("c.Srt", True),
        "d.x.mp4": ("d.x.en-GB.vtt", True),
        "e.mp4": (None, False),
    }


def test_captions_addresses_are_published_without_secrets(tmp_path: Path) -> None:
    written = [
        *("https://me:secret@x.org/v.vtt", "https://x.org/v.vtt?access_token=secret&a=1"),
        *(f"{tmp_path}/secret/v.vtt", "subs/v.vtt", "s3://me:secret@bucket/v.vtt"),
    ]
    lines = [
        json.dumps({"url": f"https://x.org/{k}", "subtitles": s}) for k, s in enumerate(written)
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    assert [video.subtitles for video in list_sources("list.jsonl", tmp_path, ("en",))] == [
        *("https://x.org/v.vtt", "https://x.org/v.vtt?a=1"),
        *("v.vtt", "subs/v.vtt", "s3://bucket/v.vtt"),
    ]


def test_captions_that_nobody_wants_are_not_looked_for(tmp_path: Path) -> None:
    touched(tmp_path, "a.mp4", "a.vtt")
    (video,) = list_sources(".", tmp_path)
    assert (video.captions_location, video.captions_signature) == (None, None)
    assert list_sources(".", tmp_path).column("captions_location").null_count == 1


def test_captions_that_a_list_names_come_first(tmp_path: Path) -> None:
    touched(
        tmp_path, "lists/a.mp4", "lists/a.vtt", "lists/named.srt", "lists/b.mp4", "lists/b.fr.vtt"
    )
    rows = [
        "path,subtitles,language",
        "lists/a.mp4,named.srt,",
        "lists/b.mp4,,fr",
        "https://x.org/c.mp4,named.srt,",
        "https://x.org/d.mp4,https://x.org/d.vtt,",
        "https://x.org/e.mp4,missing.vtt,",
        "https://x.org/f.mp4,,",
    ]
    (tmp_path / "lists/list.csv").write_text("\n".join(rows))
    assert found(tmp_path, "en", sources="lists/list.csv") == {
        "a.mp4": ("named.srt", True),
        "b.mp4": ("b.fr.vtt", True),
        "c.mp4": ("named.srt", True),
        "d.mp4": ("d.vtt", False),
        "e.mp4": ("missing.vtt", False),
        "f.mp4": (None, False),
    }


def test_captions_of_a_list_in_a_store_lie_beside_it() -> None:
    store = Store("memory://listed-captions")
    store.put("list.csv", b"url,subtitles\na.mp4,a.vtt\nb.mp4,/b.vtt\nc.mp4,https://x.org/c.vtt\n")
    listed = list_sources("memory://listed-captions/list.csv", Path("/base"), ("en",))
    assert [video.captions_location for video in listed] == [
        *("memory://listed-captions/a.vtt", "/b.vtt", "https://x.org/c.vtt"),
    ]
