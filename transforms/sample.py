"""What becomes of a passage: the json and the txt of its sample."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reelscript.pipeline.errors import DataError
from reelscript.pipeline.plan import Planned, members_digest
from reelscript.schemas.clip import SPACELESS_LANGUAGES, Clip, Passage
from reelscript.schemas.sample import (
    FORMAT,
    Encoding,
    SampleClip,
    SampleJson,
    SampleTranscript,
    SampleWord,
)
from reelscript.schemas.text import canonical_json, ms, score
from reelscript.schemas.transcript import Transcript, Word
from reelscript.schemas.video import Video


@dataclass(frozen=True, slots=True)
class SampleParts:
    """A sample before it is written: its json and txt, and the digests of its mp4s."""

    meta: SampleJson
    text: str
    mp4: str
    mp4_bytes: int
    frames_mp4: str | None = None  # None: no such member
    frames_mp4_bytes: int = 0

    def members(self) -> tuple[bytes, bytes]:
        """Returns the contents of the json and of the txt."""
        return canonical_json(self.meta), self.text.encode()

    def planned(self) -> Planned:
        """Returns what the shard plan has to know of it."""
        json_data, txt_data = self.members()
        json_sha256, txt_sha256 = (hashlib.sha256(d).hexdigest() for d in (json_data, txt_data))
        digest = members_digest(self.mp4, json_sha256, txt_sha256, self.frames_mp4)
        size = self.mp4_bytes + len(json_data) + len(txt_data) + self.frames_mp4_bytes
        return Planned(self.meta["key"], self.meta["video_id"], self.meta["split"], size, digest)


def sample_parts(
    video: Video,
    passage: Passage,
    clips: Sequence[Clip],
    words: Sequence[Word],
    encoding: Encoding,
    transcript: Transcript,
) -> SampleParts:
    """Returns the sample that a passage becomes; the arguments are those of `sample_json`."""
    meta = sample_json(video, passage, clips, words, encoding, transcript)
    space = "" if meta["language"] in SPACELESS_LANGUAGES else " "
    text = space.join(clip["text"] for clip in meta["clips"])
    frames_bytes = encoding.frames_mp4_bytes or 0
    return SampleParts(
        meta, text, encoding.mp4, encoding.mp4_bytes, encoding.frames_mp4, frames_bytes
    )


def sample_json(
    video: Video,
    passage: Passage,
    clips: Sequence[Clip],
    words: Sequence[Word],
    encoding: Encoding,
    transcript: Transcript,
) -> SampleJson:
    """Returns what the json member of a passage holds.

    Times of clips and words count from `passage.start_s`, the start of the mp4. All are rounded on
    the video's clock before the difference is taken: rounding keeps order, so disjoint clips stay
    disjoint, and `start_s` + a clip's time is exactly the time in `clips.parquet`. Words are held
    within their clip.

    Args:
        video: where it comes from.
        passage: names its clips by `clip_index`.
        clips: the clips of the video, or at least those of the passage.
        words: all aligned words of the video, which the clips index.
        encoding: what the mp4 holds.
        transcript: where the words come from.

    Raises:
        DataError: a clip is missing or empty, a word has no time, or the video has no sha256.
    """
    if video.source_sha256 is None or encoding.key != passage.key:
        raise DataError(
            f"{passage.key}: {video.video_id} has no sha256, or {encoding.key} is not its mp4"
        )
    by_index = {clip.clip_index: clip for clip in clips}
    if not passage.clips or not by_index.keys() >= set(passage.clips):
        raise DataError(
            f"{passage.key} has no clips, or lacks some of those it names: {passage.clips[:9]}"
        )
    own = [by_index[index] for index in passage.clips]
    return SampleJson(
        format=FORMAT,
        key=passage.key,
        video_id=video.video_id,
        url=video.url,
        title=video.title,
        license=video.license,
        channel=video.channel,
        source_sha256=video.source_sha256,
        split=passage.split,
        start_s=ms(passage.start_s),
        end_s=ms(passage.end_s),
        duration_s=ms(encoding.duration_s),
        width_px=encoding.width_px,
        height_px=encoding.height_px,
        fps=round(encoding.fps, 6),
        frames=encoding.frames,
        language=video.language,
        language_probability=_known(video.language_probability),
        clips=[_clip(clip, words, passage) for clip in own],
        scores=_sample_scores(own),
        transcript=SampleTranscript(
            source=transcript.source,
            engine=transcript.engine,
            model=transcript.model,
            compute_type=transcript.compute_type,
        ),
    )


def _clip(clip: Clip, words: Sequence[Word], passage: Passage) -> SampleClip:
    origin_s = ms(passage.start_s)
    start_s = max(0.0, ms(ms(clip.start_s) - origin_s))
    end_s = ms(ms(clip.end_s) - origin_s)
    own = words[clip.first_word : clip.end_word]
    if end_s <= start_s or not own:
        raise DataError(f"{passage.key}: clip {clip.clip_index} lasts under 1 ms or has no words")
    if len(own) < clip.end_word - clip.first_word:
        raise DataError(f"{passage.key}: clip {clip.clip_index} lacks words: not this video's?")
    said: list[SampleWord] = []
    last_s = start_s
    for word in own:
        if word.start_s is None or word.end_s is None:
            raise DataError(f"{passage.key}: clip {clip.clip_index} has a word without a time")
        last_s = min(max(last_s, ms(ms(word.start_s) - origin_s)), end_s)
        ends_s = min(max(last_s, ms(ms(word.end_s) - origin_s)), end_s)
        probability = _known(word.probability)
        said.append(
            SampleWord(word=word.word, start_s=last_s, end_s=ends_s, probability=probability)
        )
    scores = {
        name: _known(value) if isinstance(value, float) else value
        for name, value in dataclasses.asdict(clip.scores).items()
    }
    return SampleClip(start_s=start_s, end_s=end_s, text=clip.text, words=said, scores=scores)


def _sample_scores(clips: Sequence[Clip]) -> dict[str, float | int | None]:
    """Returns the scores of a sample: sums, and means over its clips by words or by seconds."""
    seconds = [clip.end_s - clip.start_s for clip in clips]
    words = [clip.scores.words for clip in clips]
    return {
        "words": sum(words),
        "words_per_s": _known(sum(words) / sum(seconds)),
        "mean_word_probability": _mean((c.scores.mean_word_probability for c in clips), words),
        "avg_logprob": _mean((c.scores.avg_logprob for c in clips), words),
        "speech_share": _mean((c.scores.speech_share for c in clips), seconds),
        "static_share": _mean((c.scores.static_share for c in clips), seconds),
    }


def _mean(values: Iterable[float | None], weights: Sequence[float]) -> float | None:
    """Returns the weighted mean of the values that are known, or None."""
    known = [
        (v, w) for v, w in zip(values, weights, strict=True) if v is not None and math.isfinite(v)
    ]
    weight = sum(w for _, w in known)
    return _known(sum(v * w for v, w in known) / weight) if weight else None


def _known(value: float | None) -> float | None:
    return None if value is None else score(value)
