"""A bucket on this machine, for tests: moto behind a server that can be told to fail.

The clients under test are the real ones, and find the bucket as a user's would: by
`AWS_ENDPOINT_URL` and the credentials in the environment.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reelscript.pipeline.store import Store

KEY_ID, SECRET = "AKIAREELSCRIPTTEST00", "a-secret-that-nothing-may-print"
ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"


@dataclass
class Bad:
    """Answers that a server gives in place of the right ones.

    Attributes:
        method, part: of the requests that get them: "PUT", and what their path holds.
        times: how many.
        status, code, said: the answer, such as 503, "SlowDown" and a sentence.
        done: the request is done all the same; only its answer is lost.
    """

    method: str
    part: str
    times: int
    status: int
    code: str
    said: str = "Please try again."
    done: bool = False


@dataclass
class Bucket:
    """A bucket that is there.

    Attributes:
        endpoint: of its server.
        name: of the bucket.
        bad: answers to come.
        asked: method and path of every request, in order.
    """

    endpoint: str
    name: str
    bad: list[Bad] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def url(self, path: str = "") -> str:
        """Returns the address of what lies in it."""
        return f"s3://{self.name}/{path}".rstrip("/")

    def copied(self, name: str, to: Path) -> Path:
        """Returns a copy of a folder of the bucket on this machine."""
        bucket = Store(self.url())
        for found in bucket.names(name):
            (to / found).parent.mkdir(parents=True, exist_ok=True)
            bucket.fetch(found, to / found)
        return to / name

    def environment(self) -> dict[str, str]:
        """Returns the variables by which clients find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        }


class Server:
    """A moto server in a thread, on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._buckets: dict[str, Bucket] = {}
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self, True, request_handler=MotoRequestHandler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answers a request, or fails it as its bucket says."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        bucket = self._buckets.get(path.split("/")[1])
        with self._lock:
            bad = None if bucket is None else _next(bucket, method, path)
        if bad is None:
            answer: Iterable[bytes] = self._app(environ, start)
            return answer
        if bad.done:
            list(self._app(environ, lambda *_: None))
        else:  # else the connection is closed under a client that is still sending
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(f"{bad.status} No", [("Content-Type", "application/xml")])
        return [] if method == "HEAD" else [ERROR.format(bad.code, bad.said).encode()]

    def bucket(self) -> Bucket:
        """Returns a new bucket."""
        import boto3

        found = Bucket(self.endpoint, f"bucket-{uuid.uuid4().hex[:12]}")
        boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        ).create_bucket(Bucket=found.name)
        self._buckets[found.name] = found
        return found

    def close(self) -> None:
        """Stops it."""
        self._server.shutdown()
        self._server.server_close()


def _next(bucket: Bucket, method: str, path: str) -> Bad | None:
    """Returns the answer to a request that is not to be the right one."""
    bucket.asked.append((method, path))
    for bad in bucket.bad:
        if bad.times > 0 and bad.method == method and bad.part in path:
            bad.times -= 1
            return bad
    return None


@contextmanager
def connected(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Gives a new bucket, which clients of this process and its children find."""
    from s3fs import S3FileSystem

    bucket = server.bucket()
    for name, value in bucket.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    S3FileSystem.clear_instance_cache()  # a client reads the environment once
    yield bucket
    S3FileSystem.clear_instance_cache()
