"""The written language: read by a real detector, and set against the one that was heard."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.errors import Reject
from reelscript.pipeline.stage import apply
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.transcript import Transcript, Word
from reelscript.schemas.video import Video
from reelscript.transforms.language import Language, letters_in, windows_of_text, written_language

needs_langdetect = pytest.mark.skipif(
    importlib.util.find_spec("langdetect") is None, reason="langdetect is not installed"
)
BLANK = Video(video_id="a", url="a", location="a")
TEXTS = {
    "en": "This morning we walk along the river and count the boats that pass under the bridge.",
    "de": "Heute Morgen gehen wir am Fluss entlang und zählen die Boote unter der alten Brücke.",
    "es": "Esta mañana caminamos junto al río y contamos los barcos que pasan bajo el puente.",
    "fr": "Ce matin nous marchons le long de la rivière et nous comptons les bateaux du pont.",
    "zh": "今天早上我们沿着河边散步，数一数从桥下经过的小船，"
    "然后坐在树下休息，听孩子们唱歌，看见远处的山和天上的白云，非常高兴。",
}


@given(st.lists(st.sampled_from([" one", " two,", "3", " …", " vier", " 字"])), st.integers(1, 40))
def test_language_windows_lose_nothing_and_are_full(words: list[str], size: int) -> None:
    texts = windows_of_text(words, size)
    assert "".join(texts) == "".join(words)
    assert all(letters_in(t) >= size for t in texts[:-1])
    assert all(letters_in(t) <= 2 * size + 4 for t in texts)
    if len(texts) > 1:
        assert letters_in(texts[-1]) >= size // 2


@pytest.mark.parametrize(("text", "letters"), [("a1b 2!", 2), ("", 0), ("ñ字é", 3), ("…?", 0)])
def test_language_letters_are_neither_digits_nor_signs(text: str, letters: int) -> None:
    assert letters_in(text) == letters


def read(tmp_path: Path, text: str, stage: Language, **facts: object) -> Video:
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")
    words = [Word(" " + w, None, None, None, 0) for w in text.split(" ") if w]
    transcript = Transcript("asr", "e", "m", "int8", "en", [], words)
    video = replace(BLANK, transcript=workspace.put_record(transcript), **facts)  # type: ignore[arg-type]
    with stage.open() as live:
        video, timing = apply(stage, live, video, workspace)
    assert timing.trace is None, timing.trace
    return video


@needs_langdetect
@pytest.mark.parametrize("language", TEXTS)
def test_language_reads_what_is_written(tmp_path: Path, language: str) -> None:
    stage = Language(accept=(language,))
    video = read(tmp_path, TEXTS[language], stage, language=language, language_probability=0.9)
    assert (video.outcome, video.text_language) == ("pending", language)
    assert (video.text_language_probability or 0.0) > 0.9
    assert video.text_chars == letters_in(TEXTS[language])


@needs_langdetect
def test_language_same_text_same_answer(tmp_path: Path) -> None:
    """Also for a mixed text, on which the detector samples, and after others were read."""
    mixed = f"{TEXTS['en']} {TEXTS['de']}"
    answers = []
    for n in range(4):
        video = read(tmp_path / str(n), mixed, Language(accept=("en", "de")), language="en")
        answers.append((video.text_language, video.text_language_probability))
        read(tmp_path / f"other{n}", TEXTS["fr"], Language(accept=("fr",)), language="fr")
    assert len(set(answers)) == 1


@needs_langdetect
@pytest.mark.parametrize("text", ["", "Oh no.", "1 2 3 4 5 6 7 8 9 0", "?! … ?!"])
def test_language_too_little_text_says_nothing(tmp_path: Path, text: str) -> None:
    video = read(tmp_path, text, Language(), language="en", language_probability=0.3)
    assert (video.outcome, video.text_language) == ("pending", "und")
    assert (video.text_language_probability, video.text_chars) == (None, 0)


@needs_langdetect
def test_language_windows_vote_by_their_letters() -> None:
    language, probability, letters = written_language([TEXTS["en"] * 3, TEXTS["de"], "kurz"], 40)
    assert language == "en"
    en, de = 3 * letters_in(TEXTS["en"]), letters_in(TEXTS["de"])
    assert letters == en + de
    assert probability == pytest.approx(en / letters, abs=0.02)


def said(reason: str | None, stage: Language, **facts: object) -> None:
    video = replace(BLANK, **facts)  # type: ignore[arg-type]
    if reason is None:
        stage.judge(video)
        return
    assert reason in stage.rejects
    with pytest.raises(Reject) as found:
        stage.judge(video)
    assert found.value.reason == reason
    assert found.value.detail


@pytest.mark.parametrize(
    ("reason", "heard", "heard_p", "written", "written_p"),
    [
        (None, "en", 0.9, "en", 0.99),
        (None, "en", 0.3, "en", 0.99),  # unsure ears, and the text confirms it
        (None, "en", 0.9, "und", None),  # too little text
        (None, "en", 0.3, "und", None),
        (None, "en", 0.9, "de", 0.6),  # an unsure text says nothing against sure ears
        (None, "en", None, "en", 0.99),  # stated
        (None, "en", None, "de", 0.5),
        ("language_disagreement", "en", 0.9, "de", 0.99),
        ("language_disagreement", "en", 0.9, "de", 0.8),
        ("language_unconfirmed", "en", 0.3, "en", 0.6),
        ("language_unconfirmed", "en", 0.49, "de", 0.79),
        ("text_language", "en", None, "de", 0.99),
    ],
)
def test_language_ears_and_eyes_must_agree(
    reason: str | None,
    heard: str,
    heard_p: float | None,
    written: str,
    written_p: float | None,
) -> None:
    said(
        reason,
        Language(accept=("en",)),
        language=heard,
        language_probability=heard_p,
        text_language=written,
        text_language_probability=written_p,
    )


@pytest.mark.parametrize(
    ("heard", "written"), [("zh", "zh"), ("yue", "zh"), ("nn", "no"), ("no", "no")]
)
def test_language_knows_other_names_of_one_language(heard: str, written: str) -> None:
    said(
        None,
        Language(accept=(heard,)),
        language=heard,
        language_probability=0.9,
        text_language=written,
        text_language_probability=0.99,
    )
