"""download.py: whom it asks, how often, and what it makes of being told to stop."""

from __future__ import annotations

import contextlib
import pickle
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reelscript.pipeline.errors import StageError, UsageError
from reelscript.transforms.web.addresses import AddressGuard
from reelscript.transforms.web.challenges import MARKS, challenger
from reelscript.transforms.web.download import Fetched, Limits, Unwanted, declared_bytes, download
from reelscript.transforms.web.manners import Manners, Rates
from reelscript.transforms.web.terms import Web

LOCAL = AddressGuard(("127.0.0.0/8",))
LIMITS = Limits(
    max_bytes=1 << 20,
    timeout_s=5.0,
    total_s=20.0,
    max_redirects=5,
    retries=2,
    backoff_s=0.001,
    max_wait_s=0.3,
)
BODY = b"media" * 1000


@dataclass
class Site:
    """A server: what it answers to each path, and what it was asked, and when."""

    answers: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    asked: list[tuple[str, str, float]] = field(default_factory=list)
    port: int = 0

    def url(self, path: str = "/ok", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, path: str, status: int, **headers: object) -> None:
        """Answers so the next time; the last answer holds for all times after."""
        named = {key.replace("_", "-"): str(value) for key, value in headers.items()}
        self.answers.setdefault(path, []).append((status, named))


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


@contextlib.contextmanager
def serving() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers["Host"], time.monotonic()))
            answers = site.answers.get(self.path, [(200, {})])
            status, headers = answers.pop(0) if len(answers) > 1 else answers[0]
            body = BODY if status == 200 else b""
            self.send_response(status)
            for key, value in {
                "Content-Length": len(body),
                "Connection": "close",
                **headers,
            }.items():
                self.send_header(key, str(value))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def do_CONNECT(self) -> None:
            site.asked.append((self.path, "CONNECT", time.monotonic()))
            self.send_response(407)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        site.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


@pytest.fixture
def web(tmp_path: Path) -> Web:
    return Web(LIMITS, "me", LOCAL, Manners(tmp_path / "manners", "run"))


def fetch(url: str, web: Web, tmp_path: Path) -> Fetched:
    return download(url, tmp_path / "part", web)


def refused(url: str, web: Web, tmp_path: Path, kind: str) -> str:
    """Returns what is said where a download fails so."""
    with pytest.raises(StageError) as caught:
        fetch(url, web, tmp_path)
    assert caught.value.kind == kind
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.kind) == (StageError, kind)
    return caught.value.detail


def name_server(monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> list[str]:
    """Answers look-ups from a table, each time with the next address; gives what was looked up."""
    asked: list[str] = []
    known = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **others: Any) -> Any:
        key = str(host).replace(".", "_")
        if key not in names:
            return known(host, port, *rest, **others)
        asked.append(host)
        addresses = names[key]
        address = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (part, port)) for part in address.split()
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


# Addresses.


def test_download_asks_no_address_that_is_not_public(
    site: Site, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_server(monkeypatch, inside_example=["127.0.0.1"])
    strict = replace(web, guard=AddressGuard())
    for host in ("127.0.0.1", "2130706433", "0x7f.1", "0", "inside.example", "[::ffff:7f00:1]"):
        said = refused(site.url(host=host), strict, tmp_path, "private_address")
        assert "acquire.allow_addresses" in said
    assert site.asked == []
    with pytest.raises(StageError, match="no public address"):
        declared_bytes(site.url(), strict)
    assert fetch(site.url(), web, tmp_path).size_bytes == len(BODY)
    assert declared_bytes(site.url(), web) == len(BODY)


@pytest.mark.parametrize(
    "target", ["http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/"]
)
def test_download_follows_no_redirect_to_a_private_address(
    site: Site, web: Web, tmp_path: Path, target: str
) -> None:
    site.answer("/away", 302, Location=target)
    refused(site.url("/away"), web, tmp_path, "private_address")
    assert len(site.asked) == 1


def test_download_connects_to_the_address_that_was_checked(
    site: Site, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = name_server(monkeypatch, rebinding_example=["127.0.0.1", "10.0.0.1"])
    fetch(site.url(host="rebinding.example"), web, tmp_path)
    assert asked == ["rebinding.example"]  # a second look-up would give another address
    assert site.asked[0][1] == f"rebinding.example:{site.port}"


def test_download_asks_the_public_ones_of_several_addresses(
    site: Site, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_server(monkeypatch, mixed_example=["10.0.0.1 127.0.0.2 127.0.0.1"])
    # Nobody listens at 127.0.0.2; the next address is tried.
    assert fetch(site.url(host="mixed.example"), web, tmp_path).size_bytes == len(BODY)


def test_download_says_that_a_name_is_not_known(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    said = refused("http://nowhere.example/", web, tmp_path, "connection_failed")
    assert "Name or service not known" in said


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "127.0.0.1:99999"])
def test_download_refuses_what_is_no_host(web: Web, tmp_path: Path, host: str) -> None:
    refused(f"http://{host}/", web, tmp_path, "bad_address")


def test_download_asks_for_the_certificate_of_the_name(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_server(monkeypatch, secure_example=["127.0.0.1"])
    asked_for: list[str | None] = []

    def sees(sock: ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int:
        asked_for.append(name)
        return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = sees  # type: ignore[assignment]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=accept)
        thread.start()
        url = f"https://secure.example:{server.getsockname()[1]}/"
        once = replace(web, limits=replace(LIMITS, retries=0))
        refused(url, once, tmp_path, "connection_failed")
        thread.join()
    assert asked_for == ["secure.example"]


# Proxies.


def test_download_goes_through_the_proxy_that_is_named(
    site: Site, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_server(monkeypatch, public_example=["93.184.216.34"])
    proxied = replace(web, guard=AddressGuard(), proxy=site.url(""))
    assert fetch("http://public.example/film.mp4", proxied, tmp_path).size_bytes == len(BODY)
    assert site.asked[0][:2] == ("http://public.example/film.mp4", "public.example")
    once = replace(proxied, limits=replace(LIMITS, retries=0))
    refused("https://public.example/film.mp4", once, tmp_path, "connection_failed")
    assert site.asked[1][:2] == ("public.example:443", "CONNECT")


def test_download_goes_through_the_proxy_of_the_environment_unless_told_not_to(
    site: Site, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as proxy:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        fetch(site.url(), web, tmp_path)
        assert (len(proxy.asked), len(site.asked)) == (1, 0)
        strict = replace(web, guard=AddressGuard())
        refused(site.url(), strict, tmp_path, "private_address")
        assert (len(proxy.asked), len(site.asked)) == (1, 0)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        fetch(site.url(), web, tmp_path)
        assert (len(proxy.asked), len(site.asked)) == (1, 1)


def test_download_asks_a_proxy_for_no_private_address(
    site: Site, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_server(monkeypatch, inside_example=["10.0.0.1"])
    proxied = replace(web, proxy=site.url(""))
    for host in ("10.0.0.1", "inside.example", "169.254.169.254"):
        refused(f"http://{host}/", proxied, tmp_path, "private_address")
    assert site.asked == []

    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(AddressGuard, "resolve", unknown)  # only the proxy can look names up
    fetch("http://far.example/", proxied, tmp_path)
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "proxy", ["socks5://me:secret@127.0.0.1:1", "ftp://secret@h", "http://", "http://h:secret"]
)
def test_download_says_which_proxies_it_takes(web: Web, tmp_path: Path, proxy: str) -> None:
    with pytest.raises(UsageError, match=r"acquire\.proxy") as caught:
        fetch("http://127.0.0.1/", replace(web, proxy=proxy), tmp_path)
    assert "secret" not in str(caught.value)


# Being told to stop, or to wait.


@pytest.mark.parametrize(
    ("status", "headers", "whose"),
    [
        (403, {"cf-mitigated": "challenge"}, "Cloudflare"),
        (503, {"Cf-Mitigated": " Challenge "}, "Cloudflare"),
        (202, {"x-amzn-waf-action": "challenge"}, "AWS WAF"),
        (405, {"x-amzn-waf-action": "captcha"}, "AWS WAF"),
        (403, {"X-DataDome": "protected"}, "DataDome"),
    ],
)
def test_download_stops_at_once_at_a_challenge(
    site: Site, web: Web, tmp_path: Path, status: int, headers: dict[str, str], whose: str
) -> None:
    site.answer("/film", status, **headers)
    said = refused(site.url("/film"), web, tmp_path, "blocked")
    assert said == f"{site.name} answers {status} with a challenge by {whose}"
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"server": "cloudflare", "cf-ray": "1"}),
        (404, {"x-datadome": "protected"}),
        (401, {"www-authenticate": "Basic"}),
        (410, {}),
    ],
)
def test_download_takes_no_plain_refusal_for_a_challenge(
    site: Site, web: Web, tmp_path: Path, status: int, headers: dict[str, str]
) -> None:
    site.answer("/film", status, **headers)
    strict = replace(web, manners=replace(web.manners, rates=Rates(blocked_after=1)))
    for _ in range(2):
        refused(site.url("/film"), strict, tmp_path, f"http_{status}")
    assert challenger(200, {"x-datadome": "protected"}) is None
    assert len({name for name, *_ in MARKS}) == 3


def test_download_takes_too_many_requests_for_a_block_once_all_attempts_get_it(
    site: Site, web: Web, tmp_path: Path
) -> None:
    site.answer("/film", 429)
    said = refused(site.url("/film"), web, tmp_path, "blocked")
    assert said.startswith(f"{site.name} answers 429")
    assert len(site.asked) == 3


def test_download_does_not_wait_longer_than_it_may_for_too_many_requests(
    site: Site, web: Web, tmp_path: Path
) -> None:
    for asked in ("7200", format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)):
        site.answers.clear()
        site.answer("/film", 429, Retry_After=asked)
        now = datetime.now(UTC)
        said = refused(site.url("/film"), web, tmp_path, "blocked")
        found = re.fullmatch(rf"{site.name} asks to wait until (.*) UTC", said)
        assert found
        until = datetime.strptime(found[1] + " +0000", "%Y-%m-%d %H:%M %z")
        assert abs((until - now).total_seconds() - 7200) < 120
    site.answers.clear()
    site.answer("/film", 429, Retry_After="9" * 400)
    said = refused(site.url("/film"), web, tmp_path, "blocked")
    assert said == f"{site.name} asks to wait for more than a year"
    assert len(site.asked) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_download_lets_all_wait_as_long_as_a_busy_server_asks(
    site: Site, web: Web, tmp_path: Path, status: int
) -> None:
    limits = replace(LIMITS, max_wait_s=60.0)
    site.answer("/film", status, Retry_After=1)
    site.answer("/film", 200)
    fetch(site.url("/film"), replace(web, limits=limits), tmp_path)
    first, second = (at for *_, at in site.asked)
    assert second - first >= 1.0 - 0.01  # what is measured is when the server was ready
    site.answer("/busy", status, Retry_After=60)
    hasty = replace(web, limits=replace(limits, total_s=0.5))
    refused(site.url("/busy"), hasty, tmp_path, "timed_out")
    other = replace(web.manners, run="another")
    assert 0 < other.request_s(site.name) <= 60.0
    assert other.request_s("b.example") == 0


def test_download_asks_no_site_that_is_blocked(site: Site, web: Web, tmp_path: Path) -> None:
    web = replace(web, manners=replace(web.manners, rates=Rates(blocked_after=3)))
    site.answer("/film", 403, cf_mitigated="challenge")
    for path in ("/film", "/film", "/ok", "/film", "/film", "/film"):
        with contextlib.suppress(StageError):
            fetch(site.url(path), web, tmp_path)
    assert len(site.asked) == 6
    said = refused(site.url("/ok"), web, tmp_path, "blocked")
    assert said == f"{site.name} answers 403 with a challenge by Cloudflare"
    with serving() as other:
        fetch(other.url(), web, tmp_path)
        other.answer("/away", 302, Location=site.url())
        refused(other.url("/away"), web, tmp_path, "blocked")
    assert len(site.asked) == 6
    fetch(site.url(), replace(web, manners=replace(web.manners, run="next")), tmp_path)


def test_download_stops_trying_again_once_others_found_the_site_blocked(
    site: Site, web: Web, tmp_path: Path
) -> None:
    strict = replace(web, manners=replace(web.manners, rates=Rates(blocked_after=1)))
    site.answer("/film", 503)
    slow = replace(strict, limits=replace(LIMITS, retries=50, backoff_s=0.2, max_wait_s=0.2))
    found: list[str] = []
    thread = threading.Thread(
        target=lambda: found.append(refused(site.url("/film"), slow, tmp_path, "blocked"))
    )
    thread.start()
    while not site.asked:
        time.sleep(0.01)
    strict.manners.refused(site.name, "go away")
    thread.join(20)
    assert found == ["go away"]
    assert len(site.asked) < 50


# Rates.


def test_download_spaces_its_requests_with_redirects_and_retries(
    site: Site, web: Web, tmp_path: Path
) -> None:
    clock = [1000.0]
    waits: list[float] = []
    site.answer("/a", 302, Location="/b")
    site.answer("/b", 503)
    site.answer("/b", 302, Location="/c")

    class Counting(Manners):
        def request_s(self, name: str) -> float:
            waits.append(super().request_s(name))
            clock[0] += waits[-1]
            return 0.0

    polite = Counting(tmp_path / "m", "run", Rates(requests_per_min=6), clock=lambda: clock[0])
    fetch(site.url("/a"), replace(web, manners=polite), tmp_path)
    assert [path for path, *_ in site.asked] == ["/a", "/b", "/a", "/b", "/c"]
    assert waits == pytest.approx([0, 10, 10, 10, 10])


def test_download_reads_bytes_no_faster_than_allowed(site: Site, web: Web, tmp_path: Path) -> None:
    rate = Rates(bytes_per_min=len(BODY) * 60)
    polite = replace(web, manners=replace(web.manners, rates=rate))
    begin_s = time.monotonic()
    for _ in range(2):
        fetch(site.url(), polite, tmp_path)
    assert time.monotonic() - begin_s >= 2 * 1.0 - 0.25


def test_download_bounds_all_its_waits_by_the_time_for_everything(
    site: Site, web: Web, tmp_path: Path
) -> None:
    rate = Rates(requests_per_min=0.01)
    hasty = replace(
        web,
        limits=replace(LIMITS, total_s=0.5),
        manners=replace(web.manners, rates=rate),
    )
    fetch(site.url(), hasty, tmp_path)
    refused(site.url(), hasty, tmp_path, "timed_out")
    assert len(site.asked) == 1


def test_download_reads_nothing_of_what_is_not_wanted(site: Site, web: Web, tmp_path: Path) -> None:
    site.answer("/page", 200, Content_Type="Text/HTML; charset=utf-8")
    target = tmp_path / "part"
    with pytest.raises(Unwanted, match="text/html"):
        download(site.url("/page"), target, web, {"text/html"})
    assert not target.exists()
    assert len(site.asked) == 1
    assert download(site.url("/page"), target, web).size_bytes == len(BODY)
    assert download(site.url("/ok"), target, web, {"text/html"}).size_bytes == len(BODY)
