"""Sorting on held-out windows, with the floors that tell how much of it is seeing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reelscript.jobs.evaluate.floors import Claim, claims_of, of_another_video
from reelscript.jobs.evaluate.order import Places
from reelscript.jobs.evaluate.retrieval import Pairs, Retrieval, retrieve
from reelscript.jobs.evaluate.towers import Towers
from reelscript.jobs.evaluate.windows import Batches, Seen, look, see_nothing, see_others
from reelscript.pipeline.errors import UsageError

OTHER_VIDEO = "other_video"  # this head, another video's frames
BLIND_HEAD = "blind_head"  # a head trained with blank frames
BLANK_FRAMES = "blank_frames"  # this head, blank frames: the weaker of the two


@dataclass(frozen=True)
class Sorting:
    """What held-out windows say of a network.

    Attributes:
        windows, videos: how many.
        empty: windows that were refused because a transcript says nothing.
        claims: by the name of a measure; None: the checkpoint has no sorting head.
        retrieval: of windows by their transcripts.
    """

    windows: int
    videos: int
    empty: int
    claims: Mapping[str, Claim] | None
    retrieval: Retrieval

    def to_dict(self) -> dict[str, Any]:
        """Returns the same as plain JSON values."""
        claims = self.claims
        return {
            "windows": self.windows,
            "videos": self.videos,
            "refused": {"empty_transcript": self.empty},
            "sorting": claims and {name: claim.to_dict() for name, claim in claims.items()},
            "retrieval": self.retrieval.to_dict(),
        }


def sort_windows(
    towers: Towers,
    batches: Batches,
    *,
    sorts: bool,
    blind: Towers | None,
    batch: int,
    seed: int,
    dual_softmax: bool = False,
) -> Sorting:
    """Returns what the network makes of windows, sorting beside its floors.

    Args:
        towers: the network.
        batches: of windows of held-out videos.
        sorts: whether it has a sorting head; the released checkpoints have none.
        blind: a network trained with blank frames; None: this one is shown them, a weaker floor.
        batch: windows at a time.
        seed: of everything that is drawn.
        dual_softmax: of the retrieval.
    """
    seen = look(towers, batches, sorts, seed)
    claims = None
    if seen.places is not None:
        floors = _floors(towers, batches, seen, blind, batch, seed)
        claims = claims_of(seen.places, floors, seen.videos, seed)
    pairs = Pairs(
        texts=["\n".join(said) for said in seen.texts],
        text_vectors=seen.text,
        video_of=range(len(seen.keys)),
        video_vectors=seen.video,
        sources=seen.videos,
    )
    found = retrieve(pairs, seed, dual_softmax)
    return Sorting(len(seen.keys), len(set(seen.videos)), seen.empty, claims, found)


def _floors(
    towers: Towers, batches: Batches, seen: Seen, blind: Towers | None, batch: int, seed: int
) -> dict[str, Places]:
    """Returns where heads put the transcripts that cannot see what belongs to them."""
    shown = of_another_video(seen.videos, seed)
    floors = {OTHER_VIDEO: see_others(towers, batches, seen, shown, batch, seed)}
    if blind is not None:
        own, others = (t.network.config.sorting.places for t in (towers, blind))
        if own != others:
            raise UsageError(f"--blind sorts {others} transcripts, the checkpoint {own}")
        floors[BLIND_HEAD] = see_nothing(blind, seen.texts, batch, seed)
    floors[BLANK_FRAMES] = see_nothing(towers, seen.texts, batch, seed)
    return floors
