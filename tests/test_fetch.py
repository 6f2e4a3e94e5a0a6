"""Which way a web address goes, as far as its first answer decides it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reelscript.pipeline.errors import StageError
from reelscript.transforms import fetch as module
from reelscript.transforms.fetch import fetch
from reelscript.transforms.sites.options import SiteOptions
from reelscript.transforms.sites.video import SitePlaylist, SiteVideo
from reelscript.transforms.web.addresses import AddressGuard
from reelscript.transforms.web.download import Limits
from reelscript.transforms.web.manners import Manners
from reelscript.transforms.web.terms import Web
from tests.hostile_web import MIB, HostileWeb, hostile_web, media_files

A_LIST = SitePlaylist("what yt-dlp found", ())


@pytest.fixture
def server() -> Iterator[HostileWeb]:
    with hostile_web() as web:
        yield web


@pytest.fixture
def web(tmp_path: Path) -> Web:
    limits = Limits(24 * MIB, 5.0, 30.0, 3, 1, 0.01, 5.0)
    manners = Manners(tmp_path / "state", "run", preset="none")
    return Web(limits, "test", AddressGuard(("127.0.0.1",)), manners)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def handed_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that yt-dlp would be asked for."""
    found: list[str] = []

    def from_site(url: str, *_: Any, **__: Any) -> SitePlaylist:
        found.append(url)
        return A_LIST

    monkeypatch.setattr(module, "_from_site", from_site)
    return found


@pytest.mark.parametrize("page", ["/endless-page/x", "/page/x", "/ok/muxed.m3u8", "/rss/x"])
def test_fetch_hands_a_page_on_before_it_has_read_it(
    page: str, server: HostileWeb, web: Web, folder: Path, handed_on: list[str]
) -> None:
    assert fetch(server.at(page), folder, web, SiteOptions()) == A_LIST
    assert handed_on == [server.at(page)]
    assert len(server.asked) == 1
    assert server.sent_bytes() <= 8 * MIB  # what fits into the system's buffers
    assert list(folder.iterdir()) == []


def test_fetch_takes_a_page_for_a_file_where_it_is_told_to(
    server: HostileWeb, web: Web, folder: Path, handed_on: list[str]
) -> None:
    found = fetch(server.at("/page/x"), folder, web, SiteOptions(), "direct")
    assert isinstance(found, SiteVideo)
    assert found.path.read_bytes().startswith(b"<!DOCTYPE html>")
    with pytest.raises(StageError) as raised:
        fetch(server.at("/endless-page/x"), folder, web, SiteOptions(), "direct")
    assert raised.value.kind == "too_large"
    assert list(folder.iterdir()) == [found.path]
    assert handed_on == []


def test_fetch_reads_what_is_no_page_itself(
    server: HostileWeb, web: Web, folder: Path, handed_on: list[str]
) -> None:
    found = fetch(server.at("/ok/video.mp4"), folder, web, SiteOptions())
    assert isinstance(found, SiteVideo)
    assert found.path.read_bytes() == media_files()["video.mp4"]
    assert handed_on == []
