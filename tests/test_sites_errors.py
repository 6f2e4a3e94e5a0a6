"""What the sentences and exceptions of yt-dlp mean: the real ones, raised as yt-dlp raises them."""

from __future__ import annotations

import email.message
import io
from collections.abc import Callable
from typing import Any

import pytest
import yt_dlp
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, TransportError
from yt_dlp.utils import (
    ContentTooShortError,
    ExtractorError,
    GeoRestrictedError,
    UnsupportedError,
    UserNotLive,
)

from reelscript.pipeline.errors import StageError, StorageError, UsageError
from reelscript.transforms.sites.errors import DISK_FULL, STORAGE, USAGE, Failed, Fault, fault_of
from reelscript.transforms.sites.traffic import Refused

HINT = (
    "Use --cookies-from-browser or --cookies for the authentication. See  "
    "https://github.com/yt-dlp/yt-dlp/wiki/FAQ#how-do-i-pass-cookies-to-yt-dlp  for how to manually"
    " pass cookies. Also see  https://github.com/yt-dlp/yt-dlp/wiki/Extractors#exporting-youtube-"
    "cookies  for tips on effectively exporting YouTube cookies"
)


def raised(make: Callable[[], Exception], cause: Exception | None = None) -> BaseException:
    """Returns what comes out of yt-dlp where an extractor raises an exception.

    Args:
        make: gives the exception.
        cause: which the extractor was handling.
    """

    class SaidIE(InfoExtractor):  # type: ignore[misc]
        _VALID_URL = r"said:(?P<id>\w+)"

        def _real_extract(self, _: str) -> Any:
            if cause is None:
                raise make()
            try:
                raise cause
            except type(cause):
                raise make()  # noqa: B904 - as its extractors do

    ydl = yt_dlp.YoutubeDL(
        {"quiet": True, "no_warnings": True, "geo_bypass": False}, auto_init=False
    )
    ydl.add_info_extractor(SaidIE())
    try:
        ydl.extract_info("said:x")
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def answer(status: int, **headers: str) -> HTTPError:
    """Returns yt-dlp's exception for an answer of a server."""
    message = email.message.Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    reason = "Sign in to confirm you're not a bot"  # whatever a server writes there
    response = Response(io.BytesIO(b""), "https://site.example/", message, status, reason)
    return HTTPError(response)


SAYS = {
    # YouTube's player, with what yt-dlp adds
    f"Sign in to confirm you’re not a bot. {HINT}": "blocked",
    f"Sign in to confirm that you're not a bot. {HINT}": "blocked",
    "This content isn't available, try again later. The current session has been rate-limited by "
    "YouTube for up to an hour. It is recommended to use `-t sleep` to add a delay": "blocked",
    "Video unavailable. YouTube is requiring a captcha challenge before playback": "blocked",
    f"Private video. Sign in if you've been granted access to this video. {HINT}": "video_private",
    "Video unavailable": "video_removed",
    "Video unavailable. This video has been removed by the uploader": "video_removed",
    "Video unavailable. This video is no longer available because the YouTube account associated "
    "with this video has been terminated.": "video_removed",
    "Video unavailable. This video is no longer available due to a copyright claim by X":
        "video_removed",
    "This video has been removed for violating YouTube's Terms of Service": "video_removed",
    f"Sign in to confirm your age. This video may be inappropriate for some users. {HINT}":
        "age_restricted",
    "Join this channel to get access to members-only content like this video, and other exclusive "
    "perks.": "members_only",
    "This video is available to this channel's members on level: Fan (or any higher level). Join "
    "this channel to get access to members-only content and other exclusive perks.":
        "members_only",
    "This video is only available to Music Premium members": "members_only",
    "This video requires payment to watch": "members_only",
    "Video unavailable. This video contains content from X, who has blocked it in your country on "
    "copyright grounds": "geo_blocked",
    "This live event will begin in 3 days.": "not_yet_live",
    "Premieres in 2 hours": "not_yet_live",
    "Premiere will begin shortly": "not_yet_live",
    "This live stream recording is not available.": "video_removed",
    "The page needs to be reloaded.": "site_failed",
    "YouTube said: The playlist does not exist.": "video_removed",
    "YouTube said: This playlist is private": "video_private",
    "This channel does not have a videos tab": "no_video_found",
    # what all extractors use
    "This video is DRM protected": "drm",
    "The requested site is known to use DRM protection. It will NOT be supported.": "drm",
    "This video is only available for registered users. Use --username and --password":
        "login_required",
    "This website is no longer supported since it has been determined to be primarily used for "
    "piracy.": "unsupported_site",
    "No video formats found!": "no_video_found",
    "No video could be found in this tweet": "no_video_found",
    "Requested format is not available. Use --list-formats for a list": "no_format",
    "This video is protected by a password, use the --video-password option": "video_private",
    "Because of its privacy settings, this video cannot be played here": "video_private",
    "This VOD is for subscribers only": "members_only",
    "Livestream has not yet started": "not_yet_live",
    "Got HTTP Error 403 caused by Cloudflare anti-bot challenge; see  https://github.com":
        "blocked",
    "You are rate-limited. Try again later.": "blocked",
    "There is an error on server-side. Try again later.": "site_failed",
    "note failed: Unable to run PhantomJS binary": "unsupported_stream",
    "Unable to extract title": "site_unreadable",
}  # fmt: skip


@pytest.mark.parametrize("said", SAYS)
def test_sites_errors_sentences_have_their_kinds(said: str) -> None:
    fault = fault_of(raised(lambda: ExtractorError(said, expected=True)))
    assert fault.kind == SAYS[said]
    assert fault.passing == (fault.kind == "site_failed")
    assert "--" not in fault.detail
    assert "github" not in fault.detail
    assert not fault.detail.startswith(("ERROR", "["))


@pytest.mark.parametrize(
    ("statuses", "passing"),
    [((400, 401, 403, 404, 410, 418, 451), False), ((408, 429, 500, 502, 503, 504), True)],
)
def test_sites_errors_answers_of_servers_are_told_by_their_status(
    statuses: tuple[int, ...], passing: bool
) -> None:
    for status in statuses:
        cause = answer(status, Retry_After="7")
        said = ExtractorError(f"Unable to download webpage: {cause}", cause=cause, video_id="x")
        fault = fault_of(raised(lambda said=said: said))
        assert (fault.kind, fault.passing, fault.asked_s) == (f"http_{status}", passing, 7.0)
        assert fault_of(cause) == fault, "as the download phase raises it"
        assert "bot" not in fault.detail


def test_sites_errors_extractor_that_explains_an_answer_is_believed() -> None:
    fault = fault_of(
        raised(lambda: ExtractorError("This VOD is private", expected=True), cause=answer(403))
    )
    assert fault.kind == "video_private"
    fault = fault_of(raised(lambda: ExtractorError("Ooops 1234", expected=True), cause=answer(503)))
    assert (fault.kind, fault.passing) == ("http_503", True)


def test_sites_errors_of_their_own_classes() -> None:
    countries = ["DE"]
    geo = raised(lambda: GeoRestrictedError("Not for you, try again later", countries=countries))
    assert fault_of(geo).kind == "geo_blocked"
    assert fault_of(raised(UserNotLive)).kind == "not_yet_live"
    url = "https://site.example/private-video-removed?captcha"
    assert fault_of(raised(lambda: UnsupportedError(url))).kind == "no_video_found"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TransportError(cause=TimeoutError("timed out")), "timed_out"),
        (TransportError(cause=ConnectionResetError(104, "reset")), "connection_failed"),
        (TransportError("Name or service not known"), "connection_failed"),
        (IncompleteRead(partial=10, expected=5), "truncated"),
        (ContentTooShortError(10, 15), "truncated"),
    ],
)
def test_sites_errors_of_the_network_may_pass(error: Exception, kind: str) -> None:
    for each in (error, raised(lambda: ExtractorError("Unable to download", cause=error))):
        fault = fault_of(each)
        assert (fault.kind, fault.passing) == (kind, True)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StageError("no_format", "none"), "no_format"),
        (Refused(StageError("private_address", "10.0.0.1")), "private_address"),
        (Refused(StorageError("no")), STORAGE),
        (UsageError("no"), USAGE),
        (OSError(27, "File too large"), "too_large"),
        (OSError(28, "No space left on device"), DISK_FULL),
        (MemoryError(), "out_of_memory"),
        (RecursionError(), "site_unreadable"),
        (Failed(Fault("truncated", "half", passing=True)), "truncated"),
        (KeyError("x"), "site_unreadable"),
    ],
)
def test_sites_errors_of_ours_stay_what_they_are(error: Exception, kind: str) -> None:
    assert fault_of(error).kind == kind


def test_sites_errors_file_that_cannot_be_written_is_known_behind_a_sentence() -> None:
    ydl = yt_dlp.YoutubeDL({"quiet": True}, auto_init=False)

    def as_its_downloader_does() -> None:
        try:
            raise OSError(27, "File too large")
        except OSError as error:
            ydl.report_error(f"unable to write data: {error}")

    with pytest.raises(yt_dlp.DownloadError) as found:
        as_its_downloader_does()
    assert fault_of(found.value).kind == "too_large"


def test_sites_errors_missing_javascript_is_named() -> None:
    warnings = ("[youtube] No supported JavaScript runtime could be found. Only deno is enabled",)
    error = raised(lambda: ExtractorError("Requested format is not available", expected=True))
    fault = fault_of(error, warnings)
    assert fault.kind == "needs_javascript"
    assert "reelscript[youtube]" in fault.detail
    gone = raised(lambda: ExtractorError("Video unavailable", expected=True))
    assert fault_of(gone, warnings).kind == "video_removed"


def test_sites_errors_tell_no_secrets() -> None:
    said = "Bad\x1b[31m answer of https://me:secret@site.example/x?Signature=secret&a=1\nnext"
    detail = fault_of(raised(lambda: ExtractorError(said, expected=True))).detail
    assert "secret" not in detail
    assert detail.isprintable()
