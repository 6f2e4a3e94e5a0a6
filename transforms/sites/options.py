"""What is asked of a video site, and as whom."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """Settings of what is fetched by yt-dlp.

    Attributes:
        max_height_px: largest picture that is wanted, by its shorter side; None: the largest there
            is. A site that has only larger ones gives its smallest.
        subtitle_languages: in which subtitles are wanted, the best first, as ISO 639-1 or with a
            region ("pt-BR"); none: no subtitles.
        cookies_file: in Netscape's format; is read and never written.
        cookies_from_browser: name of a browser, as yt-dlp's command line takes it:
            "firefox:profile".
        proxy: through which the site is asked.
        extractor_args: for yt-dlp's extractors, as its command line takes them:
            "youtube:player_client=web".
        max_playlist_videos: most entries that are taken from a list.
    """

    max_height_px: int | None = None
    subtitle_languages: tuple[str, ...] = ()
    cookies_file: str | None = None
    cookies_from_browser: str | None = None
    proxy: str | None = None
    extractor_args: tuple[str, ...] = ()
    max_playlist_videos: int = 1000
