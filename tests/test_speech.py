"""Is anybody speaking, in an accepted language: judged over facts, and votes put together."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.errors import Reject
from reelscript.schemas.transcript import LanguageVote, Span
from reelscript.schemas.video import Video
from reelscript.transforms.speech import SURE, Speech, _with_language, spoken_language, spread

BLANK = Video(video_id="a", url="a", location="a")
SPOKEN: dict[str, Any] = {
    "speech_s": 20.0,
    "speech_share": 0.5,
    "voice_probability": 0.9,
    "language": "en",
    "language_probability": 0.9,
    "heard_languages": json.dumps({"en": 0.9, "de": 0.05}),
    "language_agreement": 1.0,
}


def reason(stage: Speech, **facts: Any) -> str | None:
    video = replace(BLANK, **(SPOKEN | facts))
    try:
        stage.judge(video)
    except Reject as no:
        return no.reason if no.reason in stage.rejects and no.detail else "not one of its reasons"
    return None


def heard(**probabilities: float) -> dict[str, Any]:
    top = max(probabilities, key=lambda name: probabilities[name])
    return {
        "language": top,
        "language_probability": probabilities[top],
        "heard_languages": json.dumps(probabilities),
    }


@pytest.mark.parametrize(
    ("wanted", "facts"),
    [
        (None, {}),
        ("no_speech", {"speech_s": 0.0, "speech_share": 0.0, "voice_probability": 0.0}),
        ("no_speech", {"speech_s": None, "speech_share": None, "voice_probability": None}),
        ("no_speech", {"speech_s": 9.9, "speech_share": 0.19}),
        (None, {"speech_s": 9.9, "speech_share": 0.2}),  # enough of the video
        (None, {"speech_s": 10.0, "speech_share": 0.01}),  # or enough of it
        ("no_speech", {"voice_probability": 0.69}),  # music trips the detector weakly
        (None, {"voice_probability": 0.7}),
        ("language", heard(es=0.9, en=0.1)),
        ("language", heard(es=0.5, en=0.45)),
        (None, heard(es=0.49, en=0.45)),
        (None, heard(es=0.49, en=0.2)),
        ("language_uncertain", heard(es=0.49, en=0.19)),
        ("language_uncertain", heard(es=0.3, fr=0.2)),
        ("language_uncertain", heard(en=0.19)),
        ("language_mixed", {"language_agreement": 0.69}),
        (None, {"language_agreement": 0.7}),
        (None, {"language_agreement": None}),
        ("no_speech", heard(es=0.9) | {"voice_probability": 0.1}),  # music sings in no language
    ],
)
def test_speech_judges_by_its_thresholds(wanted: str | None, facts: dict[str, Any]) -> None:
    assert reason(Speech(accept=("en",)), **facts) == wanted


def test_speech_what_is_stated_is_believed() -> None:
    stated = {"language_probability": None, "heard_languages": None, "language_agreement": None}
    assert reason(Speech(accept=("en",)), language="en", **stated) is None
    assert reason(Speech(accept=("en",)), language="es", **stated) == "language"
    assert reason(Speech(accept=("en", "es")), language="es", **stated) is None


def test_speech_without_accepted_languages_all_pass() -> None:
    assert reason(Speech(accept=None), **heard(es=0.9)) is None


def test_speech_names_the_language_that_it_rejects() -> None:
    with pytest.raises(Reject) as found:
        Speech(accept=("en",)).judge(replace(BLANK, **(SPOKEN | heard(de=0.97, en=0.01))))
    assert found.value.detail == "heard=de, probability=0.97"


def test_speech_thresholds_are_no_part_of_what_facts_depend_on() -> None:
    video = replace(BLANK, source_sha256="0" * 64, audio_stream=1, start_s=0.0, duration_s=9.0)
    one, other = Speech(language="en"), Speech(language="en", accept=("de",), min_share=0.9)
    assert one.key(video) == other.key(video)
    assert one.key(video) != Speech(language="en", language_windows=5).key(video)
    assert one.key(video) != one.key(replace(video, stated_language="de"))


@given(
    st.dictionaries(st.sampled_from(["en", "de", "fr", "es"]), st.floats(0, 1)),
    st.permutations(("en", "de")),
)
def test_speech_spoken_language_is_the_likeliest_accepted_one(
    probabilities: dict[str, float], accept: list[str]
) -> None:
    video = replace(BLANK, heard_languages=json.dumps(probabilities))
    language, p = spoken_language(video, tuple(accept))
    assert language in accept
    assert p == probabilities.get(language, 0.0)
    assert all(probabilities.get(other, 0.0) <= p for other in accept)


@given(st.integers(0, 200), st.integers(1, 20))
def test_speech_windows_to_hear_are_spread_evenly(total: int, count: int) -> None:
    windows = [Span(i * 30.0, i * 30.0 + 30.0) for i in range(total)]
    picked = spread(windows, count)
    assert len(picked) == min(total, count)
    places = [windows.index(w) for w in picked]
    assert places == sorted(set(places))
    if total > count > 1:
        assert (places[0], places[-1]) == (0, total - 1)
        steps = np.diff(places)
        assert steps.max() - steps.min() <= 1 + 1  # each place is rounded by at most a half


votes_ = st.lists(
    st.builds(
        LanguageVote,
        st.integers(1, 3000).map(lambda n: Span(0.0, n / 100)),
        st.dictionaries(
            st.sampled_from(["en", "de", "fr", "es", "it"]),
            st.integers(0, 1000).map(lambda n: n / 1000),
            min_size=1,
        ),
    ),
    min_size=1,
    max_size=6,
)


@given(votes_)
def test_speech_language_is_the_mean_over_windows_by_their_length(
    votes: list[LanguageVote],
) -> None:
    video = _with_language(BLANK, votes)
    length_s = sum(v.window.duration_s for v in votes)
    names = {name for v in votes for name in v.probabilities}
    mean = {
        name: sum(v.probabilities.get(name, 0.0) * v.window.duration_s for v in votes) / length_s
        for name in names
    }
    found: dict[str, float] = json.loads(video.heard_languages or "")
    assert found == pytest.approx(mean, abs=1e-4)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert video.language is not None
    assert mean[video.language] == pytest.approx(max(mean.values()), abs=1e-4)
    assert video.language_probability == found[video.language]
    sure = [v for v in votes if max(v.probabilities.values()) >= SURE]
    if not sure:
        assert video.language_agreement is None
        return
    own = [v.probabilities.get(video.language, 0.0) >= max(v.probabilities.values()) for v in sure]
    most = sum(v.window.duration_s for v, same in zip(sure, own, strict=True) if same)
    alone = [
        same and list(v.probabilities.values()).count(max(v.probabilities.values())) == 1
        for v, same in zip(sure, own, strict=True)
    ]
    least = sum(v.window.duration_s for v, same in zip(sure, alone, strict=True) if same)
    total = sum(v.window.duration_s for v in sure)
    assert least / total - 1e-4 <= (video.language_agreement or 0.0) <= most / total + 1e-4


def test_speech_without_votes_no_language_is_heard() -> None:
    video = _with_language(BLANK, [])
    assert (video.language, video.language_probability, video.heard_languages) == (None, 0.0, "{}")


def test_speech_a_video_that_changes_its_language_is_mixed() -> None:
    half = [
        LanguageVote(Span(0.0, 30.0), {"en": 0.98}),
        LanguageVote(Span(30.0, 60.0), {"es": 0.9}),
    ]
    video = _with_language(
        replace(BLANK, speech_s=60.0, speech_share=1.0, voice_probability=0.9), half
    )
    assert (video.language, video.language_agreement) == ("en", 0.5)
    with pytest.raises(Reject) as found:
        Speech(accept=("en",), certain_probability=0.4).judge(video)
    assert found.value.reason == "language_mixed"
