"""CLIP's tokens of texts: what the text tower of TVTSv2 reads.

The byte-pair merges come with the package instant-clip-tokenizer; the cleaning before them is that
of CLIP (https://github.com/openai/CLIP, `simple_tokenizer.py`). The ids equal CLIP's but for:

- The names of the special tokens (`<|endoftext|>`, `<end_of_text>` and the two of the start) are
  ordinary text here. A transcript is text of strangers: it must not end or restart its own row.
- An apostrophe before a long s (U+017F), a lone combining iota (U+0345), and letters that came to
  Unicode after version 15: those are split into words differently, without other effect.
- Of a text, whitespace collapsed, only the first `MOST_CHARACTERS` are read, which is more than a
  row of 77 tokens holds.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

VOCABULARY = 49_408  # ids: 256 bytes, 256 bytes that end a word, 48,894 merges, start and end
START = 49_406
END = 49_407  # the largest id of all: the text tower finds the end of a row by it
PADDING = 0  # also the id of "!", but nothing stands behind the end token
CONTEXT = 77  # tokens of a row of CLIP, start and end among them
# Of a text. The time of a word without spaces grows with its square, and html.unescape fails at a
# character reference of over 4,300 digits. No token has more than 32 characters: 2,400 that are no
# spaces fill a row of 77.
MOST_CHARACTERS = 4_000


def cleaned(text: str) -> str:
    """Returns a text as CLIP cleans it before it is split into tokens.

    Broken encodings are mended (ftfy), HTML entities are resolved twice, all whitespace becomes
    single spaces, and letters are lower-cased.

    Raises:
        ImportError: a package of the extra `train` is missing.
    """
    fix_text, _ = _library()
    read = " ".join(text.split())[:MOST_CHARACTERS]
    fixed = html.unescape(html.unescape(fix_text(read)))
    return " ".join(fixed.split()).lower()


def token_count(text: str) -> int:
    """Returns how many tokens a text has, start and end among them: over `CONTEXT`, it is cut.

    Raises:
        ImportError: a package of the extra `train` is missing.
    """
    return len(_ids(text)) + 2


def tokens_of(
    texts: Sequence[str], context: int = CONTEXT, *, longest: bool = True, multiple: int = 1
) -> Tensor:
    """Returns the token ids of texts, one row each: start, text, end, then `PADDING`.

    A text with more than `context` tokens keeps its first ones and ends with the end token too. An
    empty text is start and end.

    Args:
        texts: R texts, of any content.
        context: most tokens of a row, start and end among them.
        longest: whether columns in which every row is padded are left out. That is exact for a
            causal tower, and cheaper: transcripts are far shorter than 77 tokens.
        multiple: with `longest`: as in `trimmed`.

    Returns:
        int64 (R, L) on the CPU; L is `context`, or at most that with `longest`.

    Raises:
        ValueError: `context` has no room for start and end, or `multiple` is below 1.
        TypeError: `texts` is one string.
        ImportError: a package of the extra `train` is missing.
    """
    if context < 2:
        raise ValueError(f"a context of {context} tokens has no room for the start and end tokens")
    if isinstance(texts, str):
        raise TypeError("texts is one string: give a list of them")
    ids = torch.full((len(texts), context), PADDING, dtype=torch.int64)  # (R, context)
    for row, text in zip(ids, texts, strict=True):
        kept = [START, *_ids(text)[: context - 2], END]
        row[: len(kept)] = torch.tensor(kept)
    return trimmed(ids, multiple) if longest else ids


def trimmed(ids: Tensor, multiple: int = 1) -> Tensor:
    """Returns rows of token ids without the columns behind the last end token of all of them.

    It only cuts. Rows that a compiled network is to see in few lengths are given here at their full
    context, with a `multiple` above 1. On an accelerator it waits for the ids: call it before.

    Args:
        ids: int64 (R, L), padded with `PADDING`.
        multiple: the columns that are kept are rounded up to a multiple of this, or are all L.

    Returns:
        A view of `ids`, (R, L'), with 1 <= L' <= L.

    Raises:
        ValueError: `multiple` is below 1.
    """
    if multiple < 1:
        raise ValueError(f"columns cannot be rounded up to a multiple of {multiple}")
    used = (ids != PADDING).any(dim=0).nonzero()  # (columns with a token, 1)
    columns = int(used[-1]) + 1 if len(used) else 1
    return ids[:, : -(-columns // multiple) * multiple]


def _ids(text: str) -> list[int]:
    _, encode = _library()
    # The library would take <start_of_text> and <end_of_text> for the special tokens. Text is split
    # behind an underscore anyway, so a space there changes no id.
    return encode(cleaned(text).replace("_of_text>", "_ of_text>"))


@cache
def _library() -> tuple[Callable[[str], str], Callable[[str], list[int]]]:
    """Returns ftfy's repair of a text, and CLIP's ids of a cleaned one without start and end."""
    try:
        from ftfy import fix_text
        from instant_clip_tokenizer import Tokenizer  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(
            f"CLIP's tokens need a package that is not there ({error.name}): "
            "pip install 'reelscript[train]'",
            name=error.name,
        ) from error
    return fix_text, Tokenizer().encode
