"""The child process: one attempt of yt-dlp at one address.

It gets a pickled `Job` on stdin, which stays open as long as the parent lives, and answers with one
line of JSON on stdout: `{"video": ...}`, `{"playlist": ...}` or `{"fault": ...}`.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
import time
import urllib.request
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import urlsplit

from reelscript.pipeline.errors import UsageError
from reelscript.transforms.sites.job import Job

PROXIES = {"http": 80, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
"""Kinds of proxies that urllib and yt-dlp know, and their usual ports."""


def main() -> None:
    """Does the job that comes on stdin, answers, and ends the process."""
    job: Job = pickle.load(sys.stdin.buffer)
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what others print is no answer
    json.dump(_answer(job, time.monotonic() + job.left_s), answers)
    answers.flush()
    os._exit(0)  # a thread waits on stdin


def _answer(job: Job, deadline_s: float) -> dict[str, Any]:
    from reelscript.transforms.sites import confine
    from reelscript.transforms.sites.attempt import attempt
    from reelscript.transforms.sites.downloader import Log, downloader
    from reelscript.transforms.sites.errors import fault_of
    from reelscript.transforms.sites.traffic import Traffic

    log, site, received_bytes = Log(), "", 0
    try:
        confine.end_with_parent(sys.stdin.buffer)
        confine.bound(job.web.limits.max_bytes)
        os.environ["DENO_DIR"] = str(job.folder)
        proxies = _proxies(job)
        traffic = Traffic(job.web, deadline_s, proxies)
        ydl = downloader(job, traffic, log)
        confine.only(job.web.guard, _addresses(proxies))
        try:
            return attempt(job, ydl, traffic)
        except BaseException:
            traffic.good.discard(traffic.site)  # a good page does not excuse what came of it
            raise
        finally:
            site, received_bytes = traffic.site, traffic.received_bytes
            traffic.close()
    except BaseException as error:
        fault = fault_of(error, tuple(log.warnings))
        return {"fault": asdict(replace(fault, site=site, received_bytes=received_bytes))}


def _proxies(job: Job) -> frozenset[tuple[str, int]]:
    """Returns host and port of the proxies that the settings or the environment name.

    Raises:
        UsageError: one is of no kind that is known here.
    """
    named = job.options.proxy or job.web.proxy
    urls = {"all": named} if named else urllib.request.getproxies()
    found = set()
    for scheme, url in urls.items():
        if scheme in ("http", "https", "all"):
            parts = urlsplit(url if "://" in url else f"http://{url}")
            if parts.scheme not in PROXIES or not parts.hostname:
                raise UsageError(f"a proxy must be one of {', '.join(PROXIES)}: not {parts.scheme}")
            found.add((parts.hostname, parts.port or PROXIES[parts.scheme]))
    return frozenset(found)


def _addresses(proxies: frozenset[tuple[str, int]]) -> frozenset[str]:
    """Returns the addresses of proxies. Raises UsageError where one is not known."""
    try:
        found = [where for host, port in proxies for where in socket.getaddrinfo(host, port)]
    except OSError as error:
        raise UsageError(f"the proxy is not found: {error.strerror}") from error
    return frozenset(str(where[4][0]) for where in found)


if __name__ == "__main__":
    main()
