"""What the child process may not do, tried in a process that is confined for good."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


def said_by(code: str, tmp_path: Path) -> str:
    """Returns what a confined process prints."""
    head = """
        import os, socket, subprocess, sys
        from reelscript.transforms.web.addresses import AddressGuard
        from reelscript.transforms.sites import confine
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code)],
        capture_output=True,
        cwd=tmp_path,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "start",
    [
        'subprocess.run(["ffmpeg", "-version"])',
        'subprocess.run("true", shell=True)',
        'os.system("true")',
        'os.execv("/bin/true", ["true"])',
        'os.posix_spawn("/bin/true", ["true"], {})',
    ],
)
def test_sites_confine_starts_no_program(start: str, tmp_path: Path) -> None:
    code = f"""
        confine.only(AddressGuard(), ())
        try:
            {start}
        except PermissionError as error:
            print("refused")
        """
    assert said_by(code, tmp_path) == "refused"


def test_sites_confine_starts_what_runs_javascript(tmp_path: Path) -> None:
    deno = tmp_path / "deno"
    deno.write_text("#!/bin/sh\necho 2.9.8\n")
    deno.chmod(0o755)
    code = f"""
        confine.only(AddressGuard(), ())
        print(subprocess.run([{str(deno)!r}, "--version"], capture_output=True, text=True).stdout)
        """
    assert said_by(code, tmp_path) == "2.9.8"


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "10.1.2.3"])
def test_sites_confine_connects_to_no_private_address(address: str, tmp_path: Path) -> None:
    code = f"""
        confine.only(AddressGuard(("127.0.0.2",)), ("127.0.0.3",))
        sock = socket.socket(socket.AF_INET6 if ":" in {address!r} else socket.AF_INET)
        sock.settimeout(1)
        try:
            sock.connect(({address!r}, 9))
        except OSError as error:
            print("asked")
        except Exception as error:
            print(error.refusal.kind)
        """
    assert said_by(code, tmp_path) == "private_address"


def test_sites_confine_connects_to_what_is_allowed_and_to_proxies(tmp_path: Path) -> None:
    code = """
        confine.only(AddressGuard(("127.0.0.2",)), ("127.0.0.3",))
        for address in ("127.0.0.2", "127.0.0.3"):
            try:
                socket.create_connection((address, 9), 1)
            except ConnectionRefusedError:
                print("asked")
        try:
            socket.socket(socket.AF_UNIX).connect("/run/socket")
        except PermissionError:
            print("refused")
        """
    assert said_by(code, tmp_path).split() == ["asked", "asked", "refused"]


def test_sites_confine_bounds_files_and_memory(tmp_path: Path) -> None:
    code = """
        confine.bound(1 << 20)
        try:
            with open("x", "wb") as file:
                for _ in range(100):
                    file.write(bytes(1 << 20))
        except OSError as error:
            print(error.errno)
        try:
            bytearray(confine.MEMORY_BYTES)
        except MemoryError:
            print("no memory")
        """
    assert said_by(code, tmp_path).split("\n") == ["27", "no memory"]
    assert (tmp_path / "x").stat().st_size <= 18 << 20
