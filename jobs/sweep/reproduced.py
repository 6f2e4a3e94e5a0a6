"""Do the settings of a corpus give what stands in its tables? Else a sweep would be off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.sweep.early import contradicted
from reelscript.jobs.sweep.lengths import MS_A_SECOND, Lengths
from reelscript.jobs.sweep.measured import Corpus
from reelscript.jobs.sweep.settings import EARLY
from reelscript.pipeline.decide import Decision, with_encode_failures
from reelscript.pipeline.errors import DataError
from reelscript.schemas.text import one_line


def check_reproduced(
    corpus: Corpus, decision: Decision, lengths: Lengths, rows: Mapping[str, int]
) -> None:
    """Makes sure that a decision is the one that stands.

    Args:
        corpus: as measured.
        decision: with its own settings.
        lengths: of its passages.
        rows: of its videos, by id.

    Raises:
        DataError: some videos, clips or samples are not as decided.
    """
    early = [getattr(corpus.config, name) for name in EARLY]
    wrong = set(contradicted(corpus.videos, early))
    wrong |= set(_other_videos(corpus, decision))
    wrong |= set(_other_clips(corpus, decision))
    wrong |= set(_other_samples(corpus, decision, lengths, rows))
    if wrong:
        raise DataError(
            "the settings in config.yaml do not give what stands in the tables for "
            f"{len(wrong):,} videos, such as {one_line(min(wrong), 80)}, so a sweep would be off: "
            "build the corpus again with this version, then sweep"
        )


def _other_videos(corpus: Corpus, decision: Decision) -> Iterator[str]:
    """Yields the ids of measured videos that did not end as decided."""
    was = corpus.videos.column("outcome").to_pylist()
    columns = [corpus.ended[name].to_pylist() for name in ("outcome", "stage", "reason")]
    for video, before, ended in zip(decision.videos, was, zip(*columns, strict=True), strict=True):
        chosen = video.outcome == "kept" and video.video_id in corpus.unencoded
        found = (video.outcome, video.stage, video.reason)
        if before == "pending" and not chosen and found != ended:
            yield video.video_id


def _other_clips(corpus: Corpus, decision: Decision) -> Iterator[str]:
    """Yields the ids of the videos of clips that are not as decided."""
    clips = with_encode_failures(decision, corpus.unencoded).clips
    for name in corpus.decided.column_names:
        same = _same(clips[name], corpus.decided[name])
        yield from clips["video_id"].filter(pc.invert(same)).to_pylist()


def _other_samples(
    corpus: Corpus, decision: Decision, lengths: Lengths, rows: Mapping[str, int]
) -> Iterator[str]:
    """Yields the ids of videos whose samples are not those that are listed, or not as long."""
    keys, seconds = (corpus.samples[name].to_pylist() for name in ("key", "duration_s"))
    listed = {key: round(s * MS_A_SECOND) for key, s in zip(keys, seconds, strict=True)}
    for video_id, passages in decision.passages.items():
        if video_id not in corpus.unencoded:
            found = lengths.of(rows[video_id], passages)
            if found is None or found != [listed.pop(p.key, None) for p in passages]:
                yield video_id
    for key in listed:
        yield key.rpartition("-")[0]


def _same(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns where two columns are the same, two nulls included."""
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    return pc.or_(pc.fill_null(pc.equal(left, right), False), both_null)
