"""How the web is asked, by the settings: secrets stay where they are, state is the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelscript.jobs.config import load_config
from reelscript.pipeline.errors import UsageError
from reelscript.transforms.acquire import Acquire
from reelscript.transforms.asking import site_options_of, web_of


@pytest.mark.parametrize(
    "proxy",
    [
        "http://proxy.example:3128",
        "$MY_PROXY",
        "http://$USER:$PASS@proxy.example:1",
        "socks5://$TOKEN@h:1",
    ],
)
def test_asking_lets_proxies_in_that_tell_no_secret(proxy: str) -> None:
    assert Acquire(proxy=proxy).proxy == proxy


@pytest.mark.parametrize(
    "setting",
    [
        "acquire.proxy=http://u:s3cret@h:1",
        "acquire.proxy=http://$USER:s3cret@h:1",
        "acquire.proxy=http://u:s3cret$ONE@h:1",
        "acquire.proxy=u:s3cret@h",
        "acquire.extractor_args=[youtube:po_token=web.gvs+s3cret]",
        "acquire.extractor_args=[youtube:po_token=web.gvs+s3cret$A]",
        "acquire.extractor_args=[youtube:player_client=web;visitor_data=s3cret]",
        "acquire.extractor_args=['youtube:po_token=web+$A,web+s3cret']",
    ],
)
def test_asking_refuses_secrets_in_settings_and_does_not_repeat_them(setting: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(None, ["v"], [setting])
    assert "s3cret" not in str(caught.value)
    assert "$" in str(caught.value)


def test_asking_takes_secrets_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER_OF_PROXY", "me")
    monkeypatch.setenv("PASS_OF_PROXY", "s3cret")
    monkeypatch.setenv("TOKEN", "abc")
    args = ("youtube:player_client=web;po_token=web.gvs+$TOKEN",)
    asked = Acquire(proxy="http://$USER_OF_PROXY:$PASS_OF_PROXY@h:1", extractor_args=args)
    assert web_of(asked, tmp_path).proxy == "http://me:s3cret@h:1"
    assert site_options_of(asked).extractor_args == (
        "youtube:player_client=web;po_token=web.gvs+abc",
    )
    monkeypatch.delenv("TOKEN")
    with pytest.raises(UsageError, match="TOKEN, which is not set"):
        site_options_of(asked)


def test_asking_keeps_state_in_a_folder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = web_of(Acquire(), tmp_path).manners.folder
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o077 == 0
    for of_no_use in ("/proc", "/nowhere/at/all", ""):
        monkeypatch.setenv("XDG_RUNTIME_DIR", of_no_use)
        assert web_of(Acquire(), tmp_path).manners.folder.is_dir()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(UsageError, match="set XDG_RUNTIME_DIR"):
        web_of(Acquire(), tmp_path)


def test_asking_finds_cookies_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert site_options_of(Acquire(cookies_file="ck.txt")).cookies_file == str(tmp_path / "ck.txt")
