"""Reasons and scores in words, for the report and the card; what is not listed is read as named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from reelscript.pipeline.errors import nearest

SCORES = {
    "words": "words in a clip",
    "words_per_s": "words per second",
    "chars_per_s": "characters per second",
    "mean_word_probability": "mean word probability",
    "min_word_probability": "lowest word probability",
    "avg_logprob": "mean token log-probability (Whisper)",
    "no_speech_probability": "Whisper's probability that nobody speaks",
    "window_compression_ratio": "compression ratio of Whisper's window",
    "compression_ratio": "compression ratio of the clip's text",
    "repeated_ngram_share": "share of words in repeated 3-grams",
    "unique_word_share": "share of different words",
    "longest_word_chars": "characters of the longest word",
    "speech_share": "share of time with voice",
    "static_share": "share of time with a still picture",
    "interpolated_share": "share of words with interpolated times (recognised words only)",
    "duration_s": "duration in seconds",
    "clips": "clips in a passage",
    "voice_probability": "mean voice probability where there is voice",
    "language_probability": "probability of the language as heard",
    "language_agreement": "windows that agree on the language",
    "text_language_probability": "probability of the language as written",
    "densest_30s_words": "words in the densest 30 seconds",
}

REASONS = {
    "acquire.pending": "still to be done when the corpus was published",
    "duplicate_source": "listed before",
    "too_short": "shorter than the least duration",
    "too_long": "longer than the greatest duration",
    "no_audio": "has no audio",
    "no_video": "has no video, or only a cover picture",
    "acquire.too_large": "more bytes than a download may have",
    "probe.too_large": "more pixels than a frame may have",
    "undecodable": "cannot be decoded",
    "static": "the picture stands still nearly all the time",
    "no_speech": "too little speech",
    "language": "another language is spoken",
    "language_uncertain": "the spoken language is not clear",
    "language_mixed": "parts of it are in different languages",
    "no_words": "the recogniser found no words that hold",
    "text_language": "the words are in another language than stated",
    "language_disagreement": "the language heard and the language written differ",
    "language_unconfirmed": "neither the sound nor the words make the language certain",
    "no_clips": "no clip could be cut from its words",
    "clip_out_of_bounds": "shorter or longer than a clip may be",
    "duplicate_content": "the same bytes as an earlier source",
    "passage_too_short": "too few kept clips in a row to make a passage",
    "video_failed": "its video failed while it was encoded",
    "bad_address": "the address is none that can be fetched",
    "bad_encoding": "the host compressed it in a way that cannot be undone",
    "changed": "it changed while it was read",
    "connection_failed": "the host could not be reached, or nobody knows its name",
    "decode_failed": "it could not be decoded to the end",
    "encode_failed": "a passage of it could not be encoded",
    "frame_too_large": "a frame is larger than the encoder may take",
    "aspect": "its picture is too narrow or too flat to be encoded",
    "needs_yt_dlp": "a video site or a page: it needs yt-dlp, pip install 'reelscript[sites]'",
    "acquire.playlist": "a list of videos, which are sources of their own",
    "private_address": "the address, or where it leads to, is none of the public internet",
    "outside_roots": "a local file outside of acquire.local_roots",
    "blocked": "its site does not let us in for now; it is tried again by the next build",
    "not_a_file": "the path is no file",
    "not_found": "there is no such file",
    "timed_out": "took longer than it may; trying again may help",
    "cpu_limit": "took more CPU time than a video of its length may",
    "out_of_memory": "needed more memory than one worker may have",
    "damaged_artefact": "a piece of the work folder was damaged: trying again makes it anew",
    "unreadable": "the file may not be read",
    "unsupported_scheme": "neither a file nor http(s)",
    "too_many_redirects": "the host sent us from one address to the next too often",
    "truncated": "it ended before it was whole; trying again may help",
    "video_removed": "its site has removed it, or its owner has",
    "video_private": "it is private, or behind a password",
    "members_only": "only members or buyers may see it",
    "age_restricted": "only adults may see it, who are signed in",
    "geo_blocked": "it is not shown in this country",
    "login_required": "only who is signed in may see it: acquire.cookies_file",
    "drm": "it is encrypted (DRM)",
    "is_live": "it is live now",
    "not_yet_live": "it has not begun yet",
    "no_video_found": "there is no video on its page",
    "no_format": "its site has it in no format that is wanted",
    "no_picture": "its site has only its sound",
    "merge_failed": "its picture and its sound could not be put together",
    "needs_javascript": "YouTube needs a JavaScript runtime: pip install 'reelscript[youtube]'",
    "site_failed": "its site had a fault of its own; trying again may help",
    "site_unreadable": "yt-dlp could not read its page; a newer one may help",
    "unsupported_site": "yt-dlp has given up this site",
    "unsupported_stream": "it is streamed in a way that is not fetched",
    "undecodable_sound": "its sound, fetched first, cannot be decoded",
    "bad_captions": "its subtitles are none, or too large",
    "no_captions": "its subtitles say nothing",
    "captions_misfit": "its subtitles do not fit the voice",
    "captions_language": "its subtitles are in another language",
    "crashed": "killed its worker twice when it ran alone",
    "error": "an unforeseen error; its message is the detail of the row",
    "unlisted": "no reason was given",
}


def is_reason(name: str) -> bool:
    """Returns whether a stage of ours may give this reason."""
    named = {reason.rpartition(".")[2] for reason in REASONS}
    return name in named or re.fullmatch(r"http_\d{3}", name) is not None


def nearest_reason(name: str) -> str:
    """Returns a clause with the reason nearest to a name."""
    return nearest(name, {reason.rpartition(".")[2] for reason in REASONS})


def meaning_of_score(name: str) -> str:
    """Returns what a score measures, in words."""
    return SCORES.get(name, name.replace("_", " "))


def meaning_of_reason(stage: str, reason: str, thresholds: Iterable[Mapping[str, Any]] = ()) -> str:
    """Returns what a reason says, in words: as listed, or by the rule that its name follows.

    Args:
        stage: as in a row of `stats["reasons"]`.
        reason: as in that row.
        thresholds: `stats["thresholds"]`, to name the one that a `low_X` or `high_X` rests on.
    """
    known = REASONS.get(f"{stage}.{reason}") or REASONS.get(reason)
    if known:
        return known
    rule = re.fullmatch(r"(video_)?(low|high)_(\w+)", reason)
    if rule:
        of_video, side, score = rule.groups()
        whose = " of the whole video" if of_video else ""
        limit = _limit(stage, "video" if of_video else "clip", score, side, thresholds)
        return f"{meaning_of_score(score)}{whose}: {limit}"
    status = re.fullmatch(r"http_(\d{3})", reason)
    if status:
        return f"the host answered with status {status[1]}"
    return reason.replace("_", " ")


def _limit(
    stage: str, of: str, score: str, side: str, thresholds: Iterable[Mapping[str, Any]]
) -> str:
    """Returns which limit a value lies beyond, as far as the thresholds tell."""
    end, beyond = ("min", "below") if side == "low" else ("max", "above")
    for t in thresholds:
        section = str(t["setting"]).partition(".")[0]
        if (section, t["of"], t["score"], t["side"]) == (stage, of, score, end):
            return "off" if t["value"] is None else f"{beyond} {t['setting']} = {t['value']:g}"
    return f"{beyond} the limit"
