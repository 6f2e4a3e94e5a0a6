"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.built import EXAMPLES, built
from tests.s3_made import Bucket, Server, connected


@pytest.fixture(autouse=True)
def _manners_of_this_test(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one test is asked to wait, no other waits."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))


@pytest.fixture(scope="session")
def demo_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo videos, built once with the packaged models. Do not change it."""
    out = tmp_path_factory.mktemp("demo") / "corpus"
    built(EXAMPLES, out, workers=2)
    return out


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """A server for all tests of a process."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A new bucket on a server of this machine."""
    with connected(s3_server, monkeypatch) as bucket:
        yield bucket
