"""Text that stands in many videos: greetings, calls to subscribe, words that Whisper invents.

```
candidates   every run of 6 words within a clip; every whole clip of 4 or 5 words
seed         the candidate in most videos, then in most clips, then the one that is read first
             ... thanks for watching please like and | subscribe to the channel
grown        by the words that follow and precede it in at least 9 of 10 of its videos
next         what overlaps a place of this seed is no place of another candidate: count again
```
So one sentence is one line of the list, and not one line for each six of its words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelscript.jobs.statistics.ngrams import Keys, Places, counted, is_one_of, ngram_keys
from reelscript.jobs.statistics.tokens import Tokens
from reelscript.schemas.text import one_line

LISTED = 20
WORDS = 6
SHORTEST = 4  # words of a whole clip
LEAST_VIDEOS = 3
GROWN_SHARE = 0.9  # of the seed's videos hold the longer text, too
MAX_CHARS = 300


def boilerplate(tokens: Tokens) -> list[dict[str, Any]]:
    """Returns the texts that stand in at least three videos, as `{"text", "clips", "videos"}`.

    `clips` and `videos` count where the text stands and no text found before it does; sorted by
    videos, then clips, then text.
    """
    found: list[dict[str, Any]] = []
    candidates = _Candidates(tokens)
    while len(found) < LISTED and (seed := candidates.most()) is not None:
        places, length = seed
        shown, longer = grown(tokens, places, length, candidates.covered)
        clips = np.unique(tokens.clip[shown])
        videos = np.unique(tokens.video[clips])
        text = one_line(tokens.text(int(shown[0]), longer), MAX_CHARS)
        found.append({"text": text, "clips": len(clips), "videos": len(videos)})
        candidates.cover(np.union1d(_runs(places, length), _runs(shown, longer)))
    return sorted(found, key=lambda f: (-f["videos"], -f["clips"], f["text"]))


class _Candidates:
    """The candidates with the places where each stands; what is covered is no place.

    ```
    places   12 40 77 | 13 41 78 90 | ...      of each candidate in reading order
    begins    0          3            7
    ```
    """

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.covered = np.zeros(len(tokens.ids), bool)
        keys, places, lengths = _repeated(tokens)
        order = np.argsort(keys, kind="stable")
        keys, self.places = keys[order], places[order]
        new = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
        self.begins = np.append(new, len(keys))
        self.lengths = lengths[order][new]
        self.at = np.full(len(tokens.ids), -1, np.int32)  # which candidate begins here
        self.at[self.places] = np.repeat(np.arange(len(new), dtype=np.int32), np.diff(self.begins))
        self.videos, self.clips, self.first = np.zeros((3, len(new)), np.int64)
        self._count(np.arange(len(new)))

    def most(self) -> tuple[Places, int] | None:
        """Returns the places of the best candidate and its words, or None where none is left."""
        if self.videos.max(initial=0) < LEAST_VIDEOS:
            return None
        best = np.flatnonzero(self.videos == self.videos.max())
        best = best[self.clips[best] == self.clips[best].max()]
        [chosen] = best[self.first[best].argmin(keepdims=True)]
        places, _ = self._free(np.array([chosen]))
        return places, int(self.lengths[chosen])

    def cover(self, words: Places) -> None:
        """Takes words out of what is counted."""
        self.covered[words] = True
        touched = np.unique(_runs(words - (WORDS - 1), WORDS).clip(min=0))
        candidates = np.unique(self.at[touched])
        self._count(candidates[candidates >= 0])

    def _count(self, candidates: Places) -> None:
        """Counts the videos and clips of some candidates, and finds their first places."""
        places, owner = self._free(candidates)
        clips = self.tokens.clip[places]
        videos = self.tokens.video[clips]
        other = np.diff(owner, prepend=-1) != 0
        for counts, of in ((self.videos, videos), (self.clips, clips)):
            new = other | (np.diff(of, prepend=-1) != 0)
            counts[candidates] = np.bincount(owner[new], minlength=len(candidates))
        self.first[candidates[owner[other]]] = places[other]

    def _free(self, candidates: Places) -> tuple[Places, Places]:
        """Returns the places of candidates, and which of `candidates` stands at each."""
        begins = self.begins[candidates]
        sizes = self.begins[candidates + 1] - begins
        owner = np.repeat(np.arange(len(candidates)), sizes)
        places = self.places[np.arange(len(owner)) + (begins - np.cumsum(sizes) + sizes)[owner]]
        # What is covered are runs of at least as many words, or whole clips: look at both ends.
        ends = places + self.lengths[candidates][owner] - 1
        free = ~(self.covered[places] | self.covered[ends])
        return places[free], owner[free]


def _runs(places: Places, length: int) -> Places:
    """Returns the positions of the `length` words from each place on."""
    return (places[:, None] + np.arange(length)).ravel()


def _repeated(tokens: Tokens) -> tuple[Keys, Places, Places]:
    """Returns keys, places and lengths of what may stand in three videos: it stands three times."""
    keys, places, lengths = [], [], []
    clip_begins = np.diff(tokens.clip, prepend=-1) != 0
    for length in range(SHORTEST, WORDS + 1):
        whole = clip_begins & (tokens.left == length)
        at = np.flatnonzero(tokens.left >= WORDS if length == WORDS else whole)
        own = ngram_keys(tokens.ids, at, length)
        different, counts = counted(own)
        again = is_one_of(own, different[counts >= LEAST_VIDEOS])
        keys.append(own[again])
        places.append(at[again])
        lengths.append(np.full(len(keys[-1]), length))
    return np.concatenate(keys), np.concatenate(places), np.concatenate(lengths)


def grown(
    tokens: Tokens, places: Places, length: int, covered: NDArray[np.bool_]
) -> tuple[Places, int]:
    """Returns places and length of a text, longer by the words that nearly always stand beside it.

    Args:
        tokens: of the corpus.
        places: where the text stands, in reading order.
        length: of the text in words.
        covered: words that belong to other texts.
    """
    enough = GROWN_SHARE * len(np.unique(tokens.video[tokens.clip[places]]))
    for step in (1, -1):
        while True:
            beside = places + length if step == 1 else places - 1
            within = tokens.left[places] > length if step == 1 else _has_word_before(tokens, places)
            within[within] = ~covered[beside[within]]
            word, videos = _commonest(tokens, beside[within])
            if videos < max(enough, LEAST_VIDEOS):
                break
            within[within] = tokens.ids[beside[within]] == word
            places = places[within] - (step == -1)
            length += 1
    return places, length


def _has_word_before(tokens: Tokens, places: Places) -> NDArray[np.bool_]:
    before = np.maximum(places - 1, 0)
    has: NDArray[np.bool_] = (places > 0) & (tokens.clip[before] == tokens.clip[places])
    return has


def _commonest(tokens: Tokens, places: Places) -> tuple[int, int]:
    """Returns the word that stands at places of most videos, the one read first of equals."""
    if not len(places):
        return -1, 0
    videos = int(tokens.video[-1]) + 1
    pairs = np.unique(
        tokens.ids[places].astype(np.int64) * videos + tokens.video[tokens.clip[places]]
    )
    words, counts = np.unique(pairs // videos, return_counts=True)
    return int(words[counts.argmax()]), int(counts.max())
