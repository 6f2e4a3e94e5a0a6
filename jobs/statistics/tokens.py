"""The words of the kept clips as numbers, in an order that depends on nothing but the clips.

Videos are read in the order of md5(video_id), the clips of each by `clip_index`. So a part of the
text that was read first is a random part of the corpus, and the same one whoever reads.

```
clips in reading order   "We fold it."   "You fold it, too."
words                    we fold it      you fold it too          numbered when first seen
ids                       0   1   2       3   1   2   4
left                      3   2   1       4   3   2   1           words to the end of the clip
```
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reelscript.jobs.statistics.rows import Rows

MAX_TEXT_BYTES = 1 << 27  # of kept clips that are read: 1.4 million clips of 15 English words
PUNCTUATION = string.punctuation + "…“”‘’„«»‹›¿¡—–。、，？！"

Ints: TypeAlias = NDArray[np.int32]

READ = """
    WITH lengths AS (
        SELECT video_id, coalesce(sum(strlen(text)), 0) AS bytes FROM clips WHERE outcome = 'kept'
        GROUP BY video_id
    ), places AS (
        SELECT video_id, CAST(row_number() OVER reading - 1 AS INTEGER) AS video,
            sum(bytes) OVER reading - bytes AS before
        FROM lengths WINDOW reading AS (ORDER BY md5(video_id), video_id)
    )
    SELECT video, text,
        coalesce(md5_number_lower(video_id || '/' || clip_index) % 2 = 1, false) AS odd
    FROM clips JOIN places USING (video_id) WHERE outcome = 'kept' AND before < ?
    ORDER BY video, clip_index, text
"""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The words of the kept clips that were read.

    Attributes:
        ids: the words in reading order, as positions in `words`.
        words: each different word once, in the order in which they are first read.
        left: of each of `ids` how many words there are to the end of its clip, itself included.
        clip: of each of `ids` its clip, counted from 0 in reading order.
        video: of each clip its video, counted from 0 in reading order.
        odd: of each clip whether it is of the one half, by hash, or of the other.
        kept_clips: how many there are, read or not.
    """

    ids: Ints
    words: pa.Array
    left: Ints
    clip: Ints
    video: Ints
    odd: NDArray[np.bool_]
    kept_clips: int

    def text(self, at: int, length: int) -> str:
        """Returns `length` words from position `at` of `ids`, joined by spaces."""
        return " ".join(self.words.take(pa.array(self.ids[at : at + length])).to_pylist())


def read_tokens(rows: Rows, max_bytes: int = MAX_TEXT_BYTES) -> Tokens:
    """Returns the words of the kept clips; of a large corpus those of the videos read first.

    A word is what stands between white space, bare of punctuation on both sides, in lower case: of
    a script without spaces a run of characters counts as one word.

    Args:
        rows: of the corpus.
        max_bytes: of text (UTF-8); once so many are read, no further video is begun.

    Raises:
        DataError: the rows cannot be read.
    """
    texts, videos, odd = [], [pa.array([], pa.int32())], [pa.array([], pa.bool_())]
    lengths = [pa.array([], pa.int32())]
    for batch in rows.batches(READ, [max_bytes]):
        texts.append(pieces(batch["text"]))
        lengths.append(pc.list_value_length(texts[-1]))
        texts[-1] = pc.list_flatten(texts[-1]).dictionary_encode()
        videos.append(batch["video"])
        odd.append(batch["odd"])
    ids, words, lengths_of = _numbered(texts, _numpy(lengths))
    clip = np.repeat(np.arange(len(lengths_of), dtype=np.int32), lengths_of)
    ends = np.cumsum(lengths_of, dtype=np.int32)
    [kept] = rows.dicts("SELECT count(*) AS clips FROM clips WHERE outcome = 'kept'")
    return Tokens(
        ids,
        words,
        left=(ends[clip] - np.arange(len(ids))).astype(np.int32),
        clip=clip,
        video=_numpy(videos),
        odd=_numpy(odd),
        kept_clips=kept["clips"],
    )


def bare(words: pa.Array) -> pa.Array:
    """Returns words in lower case, without the punctuation on both sides; "" if it was no more."""
    return pc.utf8_lower(pc.utf8_trim(words, characters=PUNCTUATION))


def pieces(texts: pa.Array) -> pa.Array:
    """Returns what stands between white space, a list for each text; of white space alone [""].

    White space at the ends goes first: Arrow 25.0 splits equal texts that end with it now so, now
    otherwise, by what lies behind them in memory.
    """
    return pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pc.fill_null(texts, "")))


def _numbered(texts: list[pa.Array], lengths: Ints) -> tuple[Ints, pa.Array, Ints]:
    """Returns words as numbers, what these stand for, and how many words each clip has.

    Args:
        texts: the pieces of the clips between white space, dictionary-encoded.
        lengths: how many pieces each clip has.
    """
    if not texts:
        return np.zeros(0, np.int32), pa.array([], pa.string()), lengths
    unified = pa.chunked_array(texts).unify_dictionaries().chunks
    numbers = np.concatenate([chunk.indices.to_numpy() for chunk in unified])
    encoded = bare(unified[-1].dictionary).dictionary_encode()
    word_of, words = encoded.indices.to_numpy(), encoded.dictionary
    nothing = pc.index(words, "").as_py()  # pieces that are nothing but punctuation
    ids = word_of[numbers]
    if nothing < 0:
        return ids, words, lengths
    is_word = ids != nothing
    before = np.concatenate([[0], np.cumsum(is_word)])
    ends = np.cumsum(lengths)
    lengths = (before[ends] - before[ends - lengths]).astype(np.int32)
    ids = ids[is_word]
    ids = (ids - (ids > nothing)).astype(np.int32)
    return ids, pa.concat_arrays([words.slice(0, nothing), words.slice(nothing + 1)]), lengths


def _numpy(parts: Iterable[pa.Array]) -> NDArray[Any]:
    return np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts])
