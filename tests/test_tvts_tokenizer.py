"""CLIP's tokens of texts."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reelscript.models.tvts import tokenizer
from reelscript.models.tvts.tokenizer import END, START, token_count, tokens_of, trimmed

# Ids between start and end as CLIP's own tokenizer gives them (open_clip 3.3.0, ftfy 6.3.1).
KNOWN = [
    ("", ""),
    ("a", "320"),
    ("A person riding a motorcycle", "320 2533 6765 320 10297"),
    ("a photo of a cat", "320 1125 539 320 2368"),
    ("Hello, World!", "3306 267 1002 256"),
    ("  spaces \t\n and\xa0lines ", "9006 537 3418"),
    (
        "it's we've I'm they'll he'd don't you're",
        "585 568 649 1200 328 880 889 1342 797 1896 847 713 592 982",
    ),
    ("IT'S WE'LL", "585 568 649 1342"),
    ("2023 was 1,234.56 in $", "273 271 273 274 739 272 267 273 274 275 269 276 277 530 259"),
    ("no.1 & no.2", "871 269 272 261 871 269 273"),
    ("<b>bold</b>", "283 321 285 8911 34308 321 285"),
    ("&lt;b&gt; &amp;amp; &#39;x&#39;", "283 321 285 261 262 343 262"),
    ("&amp;lt;p&amp;gt;", "283 335 285"),
    ("café naïve", "15304 1097 35689 563"),
    ("cafe\u0301", "15304"),
    (
        "caf\xc3\xa9 \xe2\u20ac\u0153quotes\xe2\u20ac\x9d it\xe2\u20ac\u2122s",
        "15304 257 5808 257 585 568",
    ),
    ("“curly” ‘quotes’ — dash…", "257 20795 257 262 5808 262 2005 10206 959"),
    ("Straße ÜBER", "1894 127 253 324 6522 1516"),
    (
        "İstanbul ΟΔΥΣΣΕΥΣ",
        "328 16384 11231 138 123 138 112 139 227 139 225 139 225 138 113 139 227 139 480",
    ),
    ("привет мир", "26302 16370 29503 110 22176 141 480 38018 16701 141 478"),
    ("你好，世界", "47466 254 29290 377 267 19759 244 163 243 490"),
    ("こんにちは", "4813 241 3909 241 4813 104 4813 94 4813 363"),
    ("안녕하세요", "16071 230 167 227 243 33992 15074 116 18541 498"),
    ("مرحبا", "12986 10948 25722 16378 22625"),
    ("שלום", "147 102 147 250 147 243 147 507"),
    ("नमस्ते", "3124 101 48254 28505 19389 27263 25130"),
    ("👍", "4201"),
    ("😀😀 ok", "34503 2481"),
    ("\U0001f469\u200d\U0001f469\u200d\U0001f467", "26304 26304 964 356"),
    ("🇩🇪", "21531"),
    ("①²½ ٣", "158 239 510 41175 33613 149 352"),
    ("ﬁne ＦＵＬＬ", "3797 1476"),
    ("\x00a\x00b\ufeff", "3937"),
    ("\u200b", "9844"),
    ("<i> &amp;lt; &amp;amp;amp;", "283 328 285 283 261 6259 282"),
    ("!!!!", "2360"),
    ("!", "256"),
    ("...?!", "3002 2835"),
    ("snake_case_word x86_64", "8798 318 2068 318 2653 343 279 277 318 277 275"),
    ("http://a.b/c?d=e", "15066 12441 320 269 321 270 322 286 323 284 324"),
    ("uh um hmm [Music] (laughs)", "9219 1008 13725 314 1179 316 263 14322 264"),
    ("♪ la la ♪", "12382 1210 1210 12382"),
    ("\ud800 \ud83d\ude00", "39802 7334"),
    ("supercalifragilisticexpialidocious", "1642 2857 13093 2076 5868 26850 835 639 38466"),
]

# The same tokenizer without its rule that these are special tokens.
NAMES_OF_SPECIAL_TOKENS = [
    ("<|endoftext|>", "27 347 40786 4160 91 285"),
    (
        "<|startoftext|> hi <|endoftext|> there",
        "27 347 993 6659 4160 91 285 1883 27 347 40786 4160 91 285 997",
    ),
    ("<end_of_text>", "283 806 318 539 318 4160 285"),
    (
        "say <START_OF_TEXT>now<end_of_text>!",
        "1451 283 1572 318 539 318 4160 285 692 283 806 318 539 318 4160 29 256",
    ),
]

ANY_TEXT = st.text() | st.text(st.characters(codec=None), max_size=60)  # lone surrogates as well
SPECIAL = st.sampled_from(["<|endoftext|>", "<end_of_text>", "<start_of_text>", "<END_OF_TEXT>"])
PARTS = st.sampled_from(["<", "&lt;", "_of_", "end_of_text>", "text>", "_of_text>", "END"])
LETTERS = st.sampled_from(
    ["\0", "'s", "!", " ", "word", "\u00e9", "\u4e16", "\u017f", "\U0001f600"]
)
TEXTS = ANY_TEXT | st.lists(SPECIAL | PARTS | LETTERS, max_size=200).map("".join)


def inner(text: str) -> list[int]:
    """The ids between start and end of a text that is not cut."""
    (row,) = tokens_of([text], context=1000).tolist()
    assert row[0] == START
    assert row[-1] == END
    return row[1:-1]


@pytest.mark.parametrize(("text", "ids"), KNOWN)
def test_tokenizer_known_texts_have_the_ids_of_clip(text: str, ids: str) -> None:
    assert inner(text) == [int(number) for number in ids.split()]


@pytest.mark.parametrize(("text", "ids"), NAMES_OF_SPECIAL_TOKENS)
def test_tokenizer_name_of_a_special_token_is_ordinary_text(text: str, ids: str) -> None:
    assert inner(text) == [int(number) for number in ids.split()]


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(2, 90))
@example(["<end_of_text>", "a <start_of_text> b", "&lt;end_of_text&gt;"], 77)
@example(["\ud800", "\ud83d\ude00", "&#xD800;", "&#0;", "\0"], 77)
def test_tokenizer_rows_are_start_text_end_and_padding(texts: list[str], context: int) -> None:
    ids = tokens_of(texts, context, longest=False)
    assert ids.shape == (len(texts), context)
    assert ids.dtype == torch.int64
    for text, row in zip(texts, ids.tolist(), strict=True):
        end = row.index(END)
        assert end == min(token_count(text), context) - 1
        assert row[0] == START
        assert all(0 <= token < START for token in row[1:end])
        assert not any(row[end + 1 :])
        assert max(row) == END  # the text tower finds the end by it


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(2, 77), st.integers(1, 16))
def test_tokenizer_trimming_loses_only_columns_of_padding(
    texts: list[str], context: int, multiple: int
) -> None:
    full = tokens_of(texts, context, longest=False)
    short = tokens_of(texts, context, multiple=multiple)
    columns = short.shape[1]
    assert torch.equal(short, full[:, :columns])
    assert not full[:, columns:].any()
    assert columns % multiple == 0 or columns == context
    longest = max(min(token_count(text), context) for text in texts)
    assert longest <= columns < longest + multiple
    assert torch.equal(tokens_of(texts, context), full[:, :longest])


@settings(deadline=None)
@given(TEXTS, st.integers(2, 40))
def test_tokenizer_long_text_keeps_its_first_tokens_and_the_end(text: str, context: int) -> None:
    whole = tokens_of([text], 5000)[0].tolist()
    row = tokens_of([text], context)[0].tolist()
    assert len(whole) == token_count(text)
    assert row == (whole if len(whole) <= context else [*whole[: context - 1], END])


def test_tokenizer_text_of_exactly_the_context_is_not_cut() -> None:
    assert token_count("cat " * 75) == 77
    assert tokens_of(["cat " * 75])[0].tolist() == [START, *[2368] * 75, END]
    assert tokens_of(["cat " * 76]).tolist() == tokens_of(["cat " * 75]).tolist()
    assert token_count("cat " * 76) == 78  # so that it can be counted as cut


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "word ",
        "\n",
        "&amp;",
        "amp;",
        "\u00c3\u00a9",
        "\U0001f600",
        "a\u0301",
        "\ud83d",
        "9",
        "!?",
    ],
)
def test_tokenizer_huge_text_is_read(piece: str) -> None:
    ids = tokens_of(["&" + piece * 1_000_000])
    assert ids.shape[1] <= 77
    assert ids[0, 0] == START
    assert (ids[0] == END).nonzero().tolist() == [[ids.shape[1] - 1]]


def test_tokenizer_reference_to_a_huge_character_is_no_error() -> None:
    # int() of Python refuses over 4300 digits, and html.unescape calls it.
    assert tokens_of(["&#" + "1" * 100_000 + ";", "&amp;#" + "1" * 100_000]).shape[0] == 2


def test_tokenizer_zero_inside_a_text_is_no_padding() -> None:
    # "!" has the id 0 where it does not end its word.
    ids = torch.tensor([[START, 0, 0, END, 0, 0], [START, 320, END, 0, 0, 0]])
    assert trimmed(ids).tolist() == [[START, 0, 0, END], [START, 320, END, 0]]
    assert trimmed(ids, 5).shape == (2, 5)
    assert trimmed(ids, 8).shape == (2, 6)


def test_tokenizer_no_texts_give_no_rows() -> None:
    assert tokens_of([]).shape[0] == 0
    assert tokens_of([], longest=False).shape == (0, 77)


def test_tokenizer_wrong_arguments_are_told() -> None:
    with pytest.raises(ValueError, match="no room for the start and end tokens"):
        tokens_of(["a"], context=1)
    with pytest.raises(ValueError, match="multiple of 0"):
        tokens_of(["a"], multiple=0)
    with pytest.raises(TypeError, match="one string"):
        tokens_of("a photo")


@pytest.mark.parametrize("package", ["ftfy", "instant_clip_tokenizer"])
def test_tokenizer_missing_package_is_one_sentence(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    tokenizer._library.cache_clear()
    try:
        with pytest.raises(ImportError, match=r"pip install 'reelscript\[train\]'") as caught:
            tokens_of(["a"])
    finally:
        tokenizer._library.cache_clear()
    assert package in str(caught.value)
    assert "\n" not in str(caught.value)
