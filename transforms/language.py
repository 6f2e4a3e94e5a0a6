"""Is the transcript in the language that was heard? Two judges that know nothing of each other.

Whisper hears, langdetect reads. They must agree, and where Whisper is unsure the text must confirm
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from reelscript.pipeline.errors import Reject
from reelscript.pipeline.stage import Live, Stage, threshold
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import score
from reelscript.schemas.transcript import Transcript
from reelscript.schemas.video import Video

SEED = 0  # langdetect samples; without a seed short texts change their language from run to run
SAME = {
    "zh-cn": "zh",
    "zh-tw": "zh",
    "nb": "no",
    "nn": "no",
    "yue": "zh",
}  # spellings of langdetect and of Whisper
UNKNOWN = "und"


@dataclass(frozen=True)
class Language(Stage):
    """The language of the transcript against the one that was heard.

    Attributes:
        accept: languages of the corpus (ISO 639-1).
        window_chars: the text is judged in windows of about this many letters, which then vote by
            their length.
        min_chars: a window with fewer letters says nothing: on three words langdetect is right in
            84 of 100 cases.
        min_text_probability: from here on the text's language counts (CLD3's threshold in MERLOT
            Reserve is 0.8).
        certain_probability: from here on Whisper needs no confirmation by the text.
    """

    accept: tuple[str, ...] = threshold(("en",))
    window_chars: Annotated[int, Ge(50)] = 500
    min_chars: Annotated[int, Ge(1)] = 40
    min_text_probability: Annotated[float, Ge(0), Le(1)] = threshold(0.8)
    certain_probability: Annotated[float, Ge(0), Le(1)] = threshold(0.5)

    name: ClassVar[str] = "language"
    rejects: ClassVar[tuple[str, ...]] = (
        "text_language",
        "language_disagreement",
        "language_unconfirmed",
    )
    reads: ClassVar[tuple[str, ...]] = ("transcript",)
    writes: ClassVar[tuple[str, ...]] = ("text_language", "text_language_probability", "text_chars")

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function with langdetect's profiles loaded and its seed set."""
        from langdetect import DetectorFactory, detector_factory

        DetectorFactory.seed = SEED
        detector_factory.init_factory()

        def live(video: Video, workspace: Workspace) -> Video:
            transcript = workspace.get_record(Transcript, video.transcript)
            texts = windows_of_text([w.word for w in transcript.words], self.window_chars)
            language, probability, letters = written_language(texts, self.min_chars)
            return replace(
                video,
                text_language=language,
                text_language_probability=probability,
                text_chars=letters,
            )

        yield live

    def judge(self, video: Video) -> None:
        """Raises Reject where what was heard and what is written do not fit."""
        heard, p = video.language or UNKNOWN, video.language_probability
        written, written_p = video.text_language or UNKNOWN, video.text_language_probability or 0.0
        believed = written != UNKNOWN and written_p >= self.min_text_probability
        if believed and written != SAME.get(heard, heard):
            if written not in {SAME.get(a, a) for a in self.accept} and p is None:
                raise Reject("text_language", stated=heard, written=written, probability=written_p)
            raise Reject(
                "language_disagreement",
                heard=heard,
                heard_p=p,
                written=written,
                written_p=written_p,
            )
        judged = written != UNKNOWN
        if p is not None and p < self.certain_probability and judged and not believed:
            raise Reject(
                "language_unconfirmed", heard=heard, heard_p=p, written=written, written_p=written_p
            )


def letters_in(text: str) -> int:
    """Returns how many letters a text has; digits, signs and spaces tell no language."""
    return sum(c.isalpha() for c in text)


def windows_of_text(words: list[str], window_chars: int) -> list[str]:
    """Returns the words as texts of about `window_chars` letters; a short rest joins the last."""
    texts: list[str] = []
    current = ""
    for word in words:
        current += word
        if letters_in(current) >= window_chars:
            texts.append(current)
            current = ""
    if current and texts and letters_in(current) < window_chars // 2:
        texts[-1] += current
    elif current:
        texts.append(current)
    return texts


def written_language(texts: list[str], min_chars: int) -> tuple[str, float | None, int]:
    """Returns the language, its probability and how many letters were judged.

    It is ("und", None, 0) where nothing can be judged. The probability is langdetect's, averaged
    over the texts by their letters.
    """
    from langdetect import detect_langs
    from langdetect.lang_detect_exception import LangDetectException

    votes: Counter[str] = Counter()
    letters = 0
    for text in texts:
        size = letters_in(text)
        if size < min_chars:
            continue
        try:
            found = detect_langs(text)
        except LangDetectException:  # no letters that it knows
            continue
        letters += size
        for guess in found:
            votes[SAME.get(guess.lang, guess.lang)] += guess.prob * size
    if not votes:
        return UNKNOWN, None, 0
    best = min(votes, key=lambda language: (-votes[language], language))
    return best, score(votes[best] / letters), letters
