"""How the web is asked, by the settings of `acquire`."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from reelscript.pipeline.errors import UsageError
from reelscript.transforms.sites.options import SiteOptions
from reelscript.transforms.web.addresses import AddressGuard
from reelscript.transforms.web.download import Limits
from reelscript.transforms.web.manners import Manners, Rates
from reelscript.transforms.web.terms import Web

if TYPE_CHECKING:
    from reelscript.transforms.acquire import Acquire

SECRET = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_NAMES = r"\$[A-Za-z_]\w*(?::\$[A-Za-z_]\w*)?"
_PROXY = re.compile(rf"\$[A-Za-z_]\w*|(?:[A-Za-z0-9+]+://)?(?:{_NAMES}@)?[^@\s$]+")
_SECRET_ARG = re.compile(
    r"(\w*(?:token|visitor_data|data_sync_id|password)\w*)=([^;]*)", re.IGNORECASE
)
_ONLY_NAMES = re.compile(r"(?:(?:[\w.]+\+)?\$[A-Za-z_]\w*)(?:,(?:[\w.]+\+)?\$[A-Za-z_]\w*)*")


def web_of(asked: Acquire, scratch: Path) -> Web:
    """Returns limits, manners and what else holds for every request.

    Args:
        asked: the settings.
        scratch: of a build: what blocks us is blocked for as long as this build.
    """
    limits = Limits(
        asked.max_bytes,
        asked.timeout_s,
        asked.total_s,
        asked.max_redirects,
        asked.retries,
        asked.backoff_s,
        asked.max_wait_s,
    )
    rates = Rates(
        asked.requests_per_min,
        asked.bytes_per_min,
        asked.videos_per_hour,
        asked.concurrent,
        None if asked.sleep_s is None else (0.5 * asked.sleep_s, 1.5 * asked.sleep_s),
        asked.blocked_after,
    )
    manners = Manners(_shared_folder(), str(scratch), rates, asked.rates)
    guard = AddressGuard(asked.allow_addresses)
    return Web(limits, user_agent(asked), guard, manners, _proxy(asked))


def site_options_of(asked: Acquire) -> SiteOptions:
    """Returns which formats and subtitles are asked of a site, and as whom."""
    return SiteOptions(
        max_height_px=asked.max_height_px,
        subtitle_languages=(asked.subtitle_languages or ()) if asked.subtitles else (),
        cookies_file=_whole(asked.cookies_file),  # the child works in another folder
        cookies_from_browser=asked.cookies_from_browser,
        proxy=_proxy(asked),
        extractor_args=tuple(map(with_secrets, asked.extractor_args)),
        max_playlist_videos=asked.max_playlist_videos,
    )


def user_agent(asked: Acquire) -> str:
    """Returns the User-Agent header."""
    if asked.user_agent:
        return asked.user_agent
    contact = f" (+{asked.contact})" if asked.contact else ""
    return f"reelscript/{metadata.version('reelscript')}{contact}"


def refuse_secrets(proxy: str | None, extractor_args: tuple[str, ...]) -> None:
    """Raises ValueError where settings, which are published, hold what is nobody's business."""
    if proxy is not None and not _PROXY.fullmatch(proxy):
        raise ValueError(
            "acquire.proxy: name environment variables in place of user and password: "
            "http://$PROXY_USER:$PROXY_PASSWORD@host:3128"
        )
    for name, value in _SECRET_ARG.findall(";".join(extractor_args)):
        if not _ONLY_NAMES.fullmatch(value):
            raise ValueError(
                f"acquire.extractor_args: name a variable in place of what {name} is: {name}=$NAME"
            )


def with_secrets(text: str) -> str:
    """Returns a setting with `$NAME` replaced by that environment variable.

    Raises:
        UsageError: there is no such variable.
    """

    def value(found: re.Match[str]) -> str:
        if (there := os.environ.get(found[1])) is None:
            raise UsageError(f"acquire names the environment variable {found[1]}, which is not set")
        return there

    return SECRET.sub(value, text)


def _whole(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().absolute())


def _proxy(asked: Acquire) -> str | None:
    return None if asked.proxy is None else with_secrets(asked.proxy)


def _shared_folder() -> Path:
    """Returns where the processes of this user on this machine keep what they know of sites.

    Raises:
        UsageError: somebody else has taken its name.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    name = f"reelscript-{os.getuid()}"
    folder = Path(runtime or tempfile.gettempdir()) / name
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / name
        folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UsageError(f"{folder} is somebody else's: set XDG_RUNTIME_DIR to a folder of yours")
    return folder
