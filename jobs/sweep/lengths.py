"""How long the mp4 of a passage is: whole frames, as encode makes them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from reelscript.jobs.sweep.measured import Corpus
from reelscript.pipeline.errors import StageError
from reelscript.schemas.clip import Passage
from reelscript.schemas.text import ms
from reelscript.schemas.video import Video
from reelscript.transforms.mp4_format import frames_in

MS_A_SECOND = 1000


class Lengths:
    """Lengths of passages of the videos of one corpus, encoded or not."""

    def __init__(self, corpus: Corpus) -> None:
        """Looks at nothing yet."""
        self._corpus = corpus
        self._rates: dict[int, Fraction | None] = {}

    def of(self, row: int, passages: Sequence[Passage]) -> list[int] | None:
        """Returns the lengths in ms of passages of a video; None where it cannot be encoded.

        Raises:
            DataError: the video was not probed.
        """
        if row not in self._rates:
            self._rates[row] = self._rate(row)
        rate = self._rates[row]
        return None if rate is None else [length_ms(passage, rate) for passage in passages]

    def _rate(self, row: int) -> Fraction | None:
        names = ("video_id", "fps", "width_px", "height_px")
        facts = {name: self._corpus.videos.column(name)[row].as_py() for name in names}
        try:
            return self._corpus.config.encode.form(Video(url="", location="", **facts)).fps
        except StageError:  # of its shape, which no other passage changes
            return None


def length_ms(passage: Passage, fps: Fraction) -> int:
    """Returns the length of a passage's mp4 in ms, as samples.parquet has it in seconds."""
    frames = frames_in(passage.duration_s, fps)
    return round(ms(frames * fps.denominator / fps.numerator) * MS_A_SECOND)
