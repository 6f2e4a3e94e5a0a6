"""What an address says unfetched: its scheme, its canonical form, what of it may be published."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import parse_qs, unquote, urlsplit

WEB_SCHEMES = ("http", "https")
MEDIA_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".3gp"}
    | {".ogv", ".wmv"}
)
"""How the names of video files end."""
OBJECT_STORES = frozenset(
    {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "tos", "hf", "memory"}
)
"""The fsspec schemes that may stand in a list: storage that is asked for by name. Those that open
an archive, run a program, wrap another scheme (`zip`, `ssh`, `reference`) or name a machine to be
asked (`hdfs`, `webhdfs`) are not among them."""

_SCHEME = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]+)://"
    r"|(about|blob|data|file|javascript|magnet|mailto|vbscript|view-source):",
    re.IGNORECASE,
)  # one letter is a drive; `Interview: 1.mp4` is a file name, so without // only these are schemes
_PLAIN = re.compile(
    r"https?://[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z0-9]+(?:-[a-z0-9]+)*)*"
    r"(?::(?!0|80/|443/)\d{1,5})?(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+"
    r"(?:\?(?!(?i:utm_|fbclid|gclid|x-amz-|x-goog-|aws|google|key-pair-|sig|access_token))"
    r"[A-Za-z0-9_-]+=[A-Za-z0-9._~-]+)?"
)  # already canonical: no fragment, escape, dot segment or upper-case host, at most one argument
_TRACKING = re.compile(r"(?:utm_[^=]*|fbclid|gclid)(?:=|$)", re.IGNORECASE)
_SIGNING = re.compile(
    r"(?:x-amz-[^=]*|x-goog-[^=]*|awsaccesskeyid|googleaccessid|key-pair-id|signature|sig"
    r"|access_token)(?:=|$)",
    re.IGNORECASE,
)  # of AWS, Google, CloudFront, Azure: whoever has them may read, and each signing has its own
_CREDENTIALS = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]{0,19}://)(?:[^/?#\s]*@|[^/?#\s:\[]*:(?!\d*(?:[/?#\s]|$))\S*@)"
)  # second form: a password that holds a slash, so that what stands before it is no host and port
_YOUTUBE = re.compile(
    r"https?://(?:[^/?#]*@)?"
    r"(?:(?:[a-z0-9-]+\.)*youtube(?:-nocookie)?\.com|(?:www\.)?(youtu\.be))\.?(?::\d+)?"
    r"(?:[/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_WATCH = "https://www.youtube.com/watch?v="
_NO_YOUTUBE_ID = (
    "videoseries"  # embed/videoseries?list=... is a playlist; the word happens to have 11 letters
)


def scheme_of(address: str) -> str | None:
    """Returns the scheme of a URL in lower case, or None where the address is a path."""
    found = _SCHEME.match(address)
    return (found[1] or found[2]).lower() if found else None


def is_fetchable(address: str) -> bool:
    """Returns whether a URL is of a kind that is fetched: http, https, or an object store."""
    scheme = scheme_of(address)
    return scheme in WEB_SCHEMES or (scheme in OBJECT_STORES and "::" not in address)


def is_plain(url: str) -> bool:
    """Returns whether a URL plainly is its own canonical and published form, and no YouTube page.

    True of most of what long lists hold; False says nothing.
    """
    return _PLAIN.fullmatch(url) is not None and "youtu" not in url


def plain_youtube_id(url: str) -> str | None:
    """Returns the id in the usual form of a YouTube address; None says nothing."""
    if not url.startswith(_WATCH) or url.endswith(_NO_YOUTUBE_ID):
        return None
    return url[-11:] if _YOUTUBE_ID.fullmatch(url, len(_WATCH)) else None


def canonical_url(url: str) -> str:
    """Returns the one form of a URL by which two listings of one source are known as one.

    For http and https: host in lower case, credentials, default port and fragment dropped, escapes
    made uniform, the query sorted and without what tracks a visitor (`utm_*`, `fbclid`, `gclid`) or
    signs a request (`X-Amz-*`). Object stores name objects by raw bytes: there, nothing but the
    scheme is touched. Never raises: a URL that cannot be parsed is its own canonical form.
    """
    if _PLAIN.fullmatch(url):
        return url
    scheme = scheme_of(url)
    if scheme not in WEB_SCHEMES:
        return url if scheme is None else scheme + url[len(scheme) :]
    from w3lib.url import canonicalize_url

    try:
        parts = urlsplit(canonicalize_url(without_credentials(url), keep_fragments=False))
        host, _, port = parts.netloc.lower().rpartition(":")
        if not host or port != {"http": "80", "https": "443"}[parts.scheme]:
            host = parts.netloc.lower()
    except (
        ValueError
    ):  # a bracket that is not closed, a port that is no number, half a surrogate pair
        return url
    query = "&".join(
        p for p in parts.query.split("&") if not _TRACKING.match(p) and not _SIGNING.match(p)
    )
    return f"{parts.scheme}://{host}{parts.path or '/'}{'?' if query else ''}{query}"


def published_url(url: str) -> str:
    """Returns a URL as it may stand in outputs: printable text, no credentials, no signature."""
    text = without_credentials(printable_address(url))
    head, mark, query = text.partition("?")
    if not mark:
        return text
    query, hash_, fragment = query.partition("#")
    kept = "&".join(p for p in query.split("&") if not _SIGNING.match(p))
    return f"{head}{'?' if kept else ''}{kept}{hash_}{fragment}"


def without_credentials(text: str) -> str:
    """Returns text with `user:password@` taken out of every URL in it."""
    return _CREDENTIALS.sub(r"\1", text) if "@" in text else text


def printable_address(address: str) -> str:
    """Returns a URL or path with what cannot be printed percent-escaped byte by byte.

    Control characters, bidirectional marks, line separators, and bytes of a file name that are not
    UTF-8 (lone surrogates) become `%0A` and the like. All else, a percent sign too, stays as it is.
    """
    if address.isprintable():
        return address
    return "".join(c if _prints(c) else _escaped(c) for c in address)


def _prints(character: str) -> bool:
    return unicodedata.category(character)[0] != "C" and character not in "\u2028\u2029"


def _escaped(character: str) -> str:
    try:
        data = character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        data = character.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in data)


def last_part(url: str) -> str:
    """Returns the last part of a URL's path, its escapes undone; what stands for a title."""
    path = url.partition("#")[0].partition("?")[0].partition("://")[2].partition("/")[2]
    last = path.rstrip("/").rpartition("/")[2]
    return unquote(last) if "%" in last else last


def is_youtube(url: str) -> bool:
    """Returns whether a URL leads to YouTube, whatever page of it."""
    return "youtu" in url.lower() and _YOUTUBE.fullmatch(url) is not None


def youtube_id(url: str) -> str | None:
    """Returns the 11-character id in the URL of one YouTube video, or None where it is none."""
    found = _YOUTUBE.fullmatch(url) if "youtu" in url.lower() else None
    if found is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    steps = [unquote(step) for step in parts.path.split("/") if step]
    if found[1]:
        candidate = steps[0] if steps else ""
    elif steps[:1] == ["watch"] or not steps:
        candidate = parse_qs(parts.query).get("v", [""])[0]
    elif len(steps) > 1 and steps[0] in ("shorts", "embed", "live", "v"):
        candidate = steps[1]
    else:
        return None
    return candidate if _YOUTUBE_ID.fullmatch(candidate) and candidate != _NO_YOUTUBE_ID else None
