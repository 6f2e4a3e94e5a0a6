"""The sentences by which sites say no, as yt-dlp hands them on: one table, three classes.

YouTube's are what its player says (`playabilityStatus`) and what yt-dlp adds to it
(`extractor/youtube/_video.py`); others are those that its extractors use most.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Class: TypeAlias = Literal["permanent", "passing", "blocked"]

_TABLE: tuple[tuple[Class, str, str], ...] = (
    # It is us whom the site does not want now: first, because "sign in" stands in others too.
    ("blocked", "blocked", r"confirm (that )?you.?re not a (ro)?bot|suspected as a bot"),
    ("blocked", "blocked", r"captcha|anti-bot|Attention Required! \| Cloudflare"),
    ("blocked", "blocked", r"rate.?limit|content isn.?t available,? try again later"),
    ("blocked", "blocked", r"too many requests|IP address is (blocked|unable to access)"),
    # What may go well the next time.
    ("passing", "site_failed", r"page needs to be reloaded|error on server-side|try again later"),
    ("passing", "site_failed", r"incomplete (data|yt initial data) received"),
    ("passing", "truncated", r"did not get any data|downloaded file is empty"),
    # Of this video.
    ("permanent", "no_format", r"requested format is not available|only images are available"),
    ("permanent", "drm", r"\bDRM\b"),
    ("permanent", "age_restricted", r"confirm your age|age.?(restricted|verified|limit)"),
    ("permanent", "age_restricted", r"inappropriate for some users|rated NC-17|unverified account"),
    (
        "permanent",
        "members_only",
        r"members?.?only|for members|join this channel|\bsubscri(be|ption)",
    ),
    ("permanent", "members_only", r"premium|supporter|purchase|requires? payment|\bpaid\b|ticket"),
    (
        "permanent",
        "geo_blocked",
        r"(in|from|for) (your|this) (country|region|location)|geo.?restrict",
    ),
    (
        "permanent",
        "not_yet_live",
        r"will (begin|start|be available)|premieres? (in|at|will)|upcoming",
    ),
    (
        "permanent",
        "not_yet_live",
        r"(not|n.t) (yet )?(started|live\b)|not yet available|not available yet",
    ),
    ("permanent", "not_yet_live", r"scheduled for|is offline|video is processing"),
    ("permanent", "video_private", r"\bprivate\b|password|privacy settings"),
    (
        "permanent",
        "login_required",
        r"sign in|log(ged)?.?in\b|registered users|authenticat|authoriz",
    ),
    ("permanent", "login_required", r"--cookies|not have access|only works when logged"),
    (
        "permanent",
        "video_removed",
        r"unavailable|no longer available|not available|isn.t available",
    ),
    (
        "permanent",
        "video_removed",
        r"removed|deleted|terminated|does( not|n.t) exist|expired|suspended",
    ),
    (
        "permanent",
        "video_removed",
        r"copyright|has ended|(video|channel|content|stream|vod) not found",
    ),
    (
        "permanent",
        "no_video_found",
        r"no (video|media|supported|active|formats?)\b|not (a|have any) video",
    ),
    (
        "permanent",
        "no_video_found",
        r"not contain a video|not have a (video|\w+ tab)|nothing to (play|download)",
    ),
    ("permanent", "unsupported_site", r"no longer supported|will not be supported|not a valid URL"),
    (
        "permanent",
        "unsupported_site",
        r"no suitable extractor|impersonat|(currently|are) unsupported",
    ),
    ("permanent", "unsupported_stream", r"ffmpeg|rtmpdump|PhantomJS|not supported"),
)
SENTENCES = tuple((c, kind, re.compile(text, re.IGNORECASE)) for c, kind, text in _TABLE)


def class_and_kind(said: str) -> tuple[Class, str] | None:
    """Returns what a sentence means, by the first row that fits; None where none does."""
    for found, kind, sentence in SENTENCES:
        if sentence.search(said):
            return found, kind
    return None
