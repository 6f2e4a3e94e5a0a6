"""Numbers about each clip and each video.

They are stored and decide nothing: thresholds come later, over tables.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

from reelscript.pipeline.stage import Live, Stage
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Clip, Scores, Segment
from reelscript.schemas.text import score
from reelscript.schemas.transcript import Transcript, Voice, Word
from reelscript.schemas.video import Video
from reelscript.transforms.segment import end_of, start_of
from reelscript.transforms.voice_activity import overlap_s

NGRAM = 3
# Bins of MERLOT Reserve's speech density: a video's densest one (arXiv 2201.02639, data scripts).
BIN_S = 30.0


@dataclass(frozen=True)
class Score(Stage):
    """Scores of clips and of the video. It has no settings."""

    name: ClassVar[str] = "score"
    reads: ClassVar[tuple[str, ...]] = (
        *("duration_s", "static_share", "voice", "transcript", "aligned_words", "segments"),
    )
    writes: ClassVar[tuple[str, ...]] = (
        *(
            "clips",
            "clips_cut",
            "words_per_s",
            "densest_30s_words",
            "unique_word_share",
            "mean_word_probability",
        ),
    )
    artefacts: ClassVar[tuple[str, ...]] = ("clips",)

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield _measure


def _measure(video: Video, workspace: Workspace) -> Video:
    voice = workspace.get_record(Voice, video.voice)
    said = workspace.get_record(Transcript, video.transcript)
    words = workspace.get_records(Word, video.aligned_words)
    segments = workspace.get_records(Segment, video.segments)
    clips = [_clip(i, s, words, said, voice, video.static_share) for i, s in enumerate(segments)]
    return replace(
        video,
        clips=workspace.put_record(clips),
        clips_cut=len(clips),
        words_per_s=score(len(words) / video.duration_s) if video.duration_s else None,
        densest_30s_words=densest_bin(words),
        unique_word_share=score(unique_share([w.word for w in words])),
        mean_word_probability=_mean([w.probability for w in words]),
    )


def _clip(
    index: int,
    segment: Segment,
    words: Sequence[Word],
    said: Transcript,
    voice: Voice,
    static: float | None,
) -> Clip:
    own = words[segment.first_word : segment.end_word]
    text = " ".join("".join(w.word for w in own).split())
    length_s = max(segment.end_s - segment.start_s, 0.001)
    probabilities = [w.probability for w in own if w.probability is not None]
    heard = [said.windows[w.window] for w in own if w.window < len(said.windows)]
    # Of captions nobody tried to hear the times: that of a cue holds for its words.
    guessed = None if said.source == "captions" else sum(w.interpolated for w in own)
    scores = Scores(
        words=len(own),
        words_per_s=score(len(own) / length_s) or 0.0,
        chars_per_s=score(len(text) / length_s) or 0.0,
        mean_word_probability=_mean(probabilities),
        min_word_probability=score(min(probabilities)) if probabilities else None,
        avg_logprob=_mean([w.avg_logprob for w in heard]),
        no_speech_probability=score(max(w.no_speech_probability for w in heard)) if heard else None,
        window_compression_ratio=score(max(w.compression_ratio for w in heard)) if heard else None,
        compression_ratio=score(compression_ratio(text)) or 0.0,
        repeated_ngram_share=score(repeated_ngram_share([w.word for w in own])) or 0.0,
        unique_word_share=score(unique_share([w.word for w in own])) or 0.0,
        longest_word_chars=max((len(_bare(w.word)) for w in own), default=0),
        speech_share=score(
            min(1.0, overlap_s(voice.spans, segment.start_s, segment.end_s) / length_s)
        )
        or 0.0,
        static_share=static,
        interpolated_share=None if guessed is None else score(guessed / max(1, len(own))),
    )
    span = (segment.start_s, segment.end_s)
    return Clip(
        index, *span, text, segment.first_word, segment.end_word, segment.within_bounds, scores
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return score(sum(known) / len(known)) if known else None


def _bare(word: str) -> str:
    """Returns a word as compared: lower case, without signs around it."""
    return re.sub(r"^\W+|\W+$", "", word.casefold())


def compression_ratio(text: str) -> float:
    """Returns bytes of the text / bytes of its zlib compression; 0 for no text.

    It is Whisper's measure of repetition.
    """
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def unique_share(words: Sequence[str]) -> float:
    """Returns the share of different words among all, 0..1; 1 for no words."""
    bare = [b for w in words if (b := _bare(w))]
    return len(set(bare)) / len(bare) if bare else 1.0


def repeated_ngram_share(words: Sequence[str]) -> float:
    """Returns the share of words that lie in a 3-gram which stood before in the same text, 0..1.

    The idea is Gopher's duplicate n-gram fraction (arXiv 2112.11446, appendix A.1.1), counted in
    words.
    """
    bare = [b for w in words if (b := _bare(w))]
    seen: set[tuple[str, ...]] = set()
    repeated: set[int] = set()
    for i in range(len(bare) - NGRAM + 1):
        gram = tuple(bare[i : i + NGRAM])
        if gram in seen:
            repeated.update(range(i, i + NGRAM))
        seen.add(gram)
    return len(repeated) / len(bare) if bare else 0.0


def densest_bin(words: Sequence[Word]) -> int:
    """Returns how many words, by their middle, lie in the fullest bin: 0-30 s, 30-60 s, ..."""
    bins = Counter(int((start_of(w) + end_of(w)) / 2 // BIN_S) for w in words)
    return max(bins.values(), default=0)
