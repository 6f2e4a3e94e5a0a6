"""What a report plays of what was left out: small pieces of the rejects that it shows.

Rejects are never in shards. While the sources are at hand, the write phase makes a few pieces of
them: at most three for each reason, chosen by hash, a dozen seconds each. A source that is no
longer at hand is not fetched again for that: its rejects are shown as text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from reelscript.jobs.config import Config
from reelscript.jobs.dataset import videos_table
from reelscript.jobs.provenance import all_reasons
from reelscript.jobs.report.media import ReportMedia
from reelscript.jobs.report.pictures import picture_of
from reelscript.jobs.runner import Runner
from reelscript.jobs.statistics.funnel import Endings, clip_groups, reason_rows, video_groups
from reelscript.jobs.statistics.health import failure_class
from reelscript.jobs.statistics.reason_examples import clip_examples, video_examples
from reelscript.jobs.statistics.rows import Rows
from reelscript.pipeline.decide import Decision
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Clip, Passage
from reelscript.schemas.sample import Encoding
from reelscript.schemas.tables import SAMPLES
from reelscript.schemas.text import ms
from reelscript.schemas.transcript import Word
from reelscript.schemas.video import Seconds, Video
from reelscript.schemas.videos import Videos
from reelscript.transforms.local_file import file_signature
from reelscript.transforms.proxy import stand_in
from reelscript.transforms.reject_excerpts import RejectExcerpts

LONGEST_S = 12.0  # of a piece of a whole video, and the most of a clip
RESULT = "excerpts_made"
STAGE = RejectExcerpts()


class Wanted(NamedTuple):
    """A piece of a video that a report shows, on the video's clock."""

    of: str  # `<video_id>/<clip_index>`, or `<video_id>/` for the whole video
    example: Mapping[str, Any]
    stage: str
    reason: str
    start_s: Seconds
    end_s: Seconds


def excerpts(decision: Decision, config: Config, runner: Runner) -> ReportMedia:
    """Returns the pieces of the rejects that a report shows, as far as their sources are at hand.

    What an earlier build has made, or could not make for a lasting reason, is not made again.

    Args:
        decision: what is kept and what is not.
        config: resolved.
        runner: runs the stage that makes them.
    """
    workspace, media = runner.workspace, ReportMedia()
    wanted = _by_video(_reasons(decision, config))
    asked = {v.video_id: v for v in _asked(decision, wanted) if at_hand(v, workspace)}
    prepared = [_prepared(video, wanted[video_id], workspace) for video_id, video in asked.items()]
    todo = [video for video in prepared if _known(video, workspace) is None]
    if todo:
        for video, _ in runner.run("excerpts", [STAGE], Videos.of(todo), 0):
            if video.pending or failure_class(str(video.reason)) == "lasting":
                workspace.remember(RESULT, _key(video), {"encodings": video.encodings})
    for video in prepared:
        made = (_known(video, workspace) or {}).get("encodings")
        if made is not None:
            _add(media, video, made, wanted[video.video_id], workspace)
    return media


def _reasons(decision: Decision, config: Config) -> list[dict[str, Any]]:
    """Returns the reasons with their examples, as the report will show them."""
    tables = videos_table(decision, {}), decision.clips, SAMPLES.empty_table()
    with Rows.of_tables(*tables) as rows:
        endings = Endings(all_reasons(config), video_groups(rows), clip_groups(rows))
        of_videos, of_clips = video_examples(rows, ()), clip_examples(rows, endings)
    return reason_rows(endings, of_videos, of_clips)


def _by_video(reasons: Iterable[Mapping[str, Any]]) -> dict[str, list[Wanted]]:
    """Returns the pieces that are wanted, by video, in the order of time."""
    found: dict[str, list[Wanted]] = {}
    for row in reasons:
        for example in row["examples"]:
            video_id, of_clip = example["video_id"], example["kind"] == "clip"
            if of_clip:
                start_s, end_s = example["start_s"], example["end_s"]
                end_s = min(end_s, start_s + LONGEST_S)
            elif duration_s := example["duration_s"]:
                start_s = max(0.0, (duration_s - LONGEST_S) / 2)
                end_s = min(duration_s, start_s + LONGEST_S)
            else:
                continue  # nobody could open it
            of = f"{video_id}/{example['clip_index'] if of_clip else ''}"
            piece = Wanted(of, example, row["stage"], row["reason"], start_s, end_s)
            found.setdefault(video_id, []).append(piece)
    return {v: sorted(p, key=lambda w: (w.start_s, w.of)) for v, p in sorted(found.items())}


def _asked(decision: Decision, wanted: Mapping[str, Any]) -> Iterator[Video]:
    """Yields the videos of which pieces are wanted and that were opened once."""
    ids = pa.array(list(wanted), pa.string())
    for video in decision.videos.where(pc.is_in(decision.videos.column("video_id"), ids)):
        if video.fps and video.width_px and video.height_px and video.start_s is not None:
            yield video


def at_hand(video: Video, workspace: Workspace) -> bool:
    """Returns whether the bytes that were measured can be read without fetching them."""
    read = stand_in(video)
    if read.media is not None:
        return workspace.has(read.media)
    return file_signature(video.location) == video.signature


def _prepared(video: Video, pieces: Sequence[Wanted], workspace: Workspace) -> Video:
    """Returns a video as the stage takes it, with its pieces in the place of passages."""
    passages = [
        Passage(f"{video.video_id}-{n:03d}", piece.start_s, piece.end_s, "train")
        for n, piece in enumerate(pieces)
    ]
    again = dataclasses.replace(video, outcome="pending", stage=None, reason=None, detail=None)
    return dataclasses.replace(again, passages=workspace.put_record(passages), encodings=None)


def _key(video: Video) -> str:
    """Returns what the pieces of a video are remembered under, also that none could be made."""
    return STAGE.key(video)


def _known(video: Video, workspace: Workspace) -> dict[str, Any] | None:
    """Returns what was remembered of these pieces, if it still stands."""
    found = workspace.remembered(RESULT, _key(video))
    if found and found["encodings"] and not STAGE.still_there(found, workspace):
        return None
    return found


def _add(
    media: ReportMedia, video: Video, made: str, pieces: Sequence[Wanted], workspace: Workspace
) -> None:
    """Adds the pieces of one video to what the report plays."""
    encodings = workspace.get_records(Encoding, made)
    for piece, encoding in zip(pieces, encodings, strict=True):
        shown = _shown(video, piece, workspace)
        mp4 = workspace.get(encoding.mp4)
        media.rejected[piece.of] = media.add(shown, mp4, picture_of(mp4, encoding.duration_s))


def _shown(video: Video, piece: Wanted, workspace: Workspace) -> dict[str, Any]:
    """Returns what a piece shows: its words, if it has any, count from its start."""
    example, words, clips = piece.example, [], []
    if example["kind"] == "clip" and video.clips and video.aligned_words:
        clip = workspace.get_records(Clip, video.clips)[example["clip_index"]]
        heard = workspace.get_records(Word, video.aligned_words)[clip.first_word : clip.end_word]
        words = [_word(word, piece) for word in heard if (word.start_s or 0.0) < piece.end_s]
        clips = [{"start_s": 0.0, "end_s": ms(piece.end_s - piece.start_s), "text": clip.text}]
    return {
        **{name: example.get(name) for name in ("video_id", "clip_index", "title", "link")},
        "key": None,
        "stage": piece.stage,
        "reason": piece.reason,
        "start_s": ms(piece.start_s),
        "end_s": ms(piece.end_s),
        "text": example.get("text"),
        "clips": clips,
        "words": words,
    }


def _word(word: Word, piece: Wanted) -> dict[str, Any]:
    start_s, end_s = (
        ms(min(t or 0.0, piece.end_s) - piece.start_s) for t in (word.start_s, word.end_s)
    )
    return {"word": word.word, "start_s": start_s, "end_s": end_s, "probability": word.probability}
