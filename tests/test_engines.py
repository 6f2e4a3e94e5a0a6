"""What `--engine` and `--engine-option` take, and what they say otherwise."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from reelscript.jobs import cli
from reelscript.jobs.engines import Chosen
from reelscript.pipeline.engines.beam.engine import BeamEngine
from reelscript.pipeline.engines.local import LocalEngine
from reelscript.pipeline.engines.ray.engine import RayEngine
from reelscript.pipeline.errors import UsageError
from reelscript.pipeline.store import Store


@pytest.mark.parametrize(
    ("engine", "options", "says"),
    [
        ("rey", (), "--engine rey: did you mean 'ray'"),
        ("ray", ("adress=auto",), "--engine-option adress: did you mean 'address'"),
        ("ray", ("address",), "--engine-option address: expected KEY=VALUE"),
        ("ray", ("=auto",), "--engine-option =auto: expected KEY=VALUE"),
        ("ray", ("address=",), "--engine-option address=: expected KEY=VALUE"),
        ("ray", ("address=a:1", "address=b:1"), "--engine-option address is there twice"),
        ("ray", ("address=auto", "object_store_bytes=1"), "object_store_bytes is of a cluster of"),
        ("local", ("address=auto",), "--engine-option address: the engine local has no options"),
    ],
)
def test_engines_that_cannot_be_meant_are_one_sentence(
    engine: str, options: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UsageError) as told:
        Chosen.of(engine, options)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("engine", "module"), [("ray", "ray"), ("beam", "apache_beam")])
def test_engine_that_is_not_installed_says_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, engine: str, module: str
) -> None:
    found = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == module else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(UsageError, match=rf"not installed: .*'reelscript\[{engine}\]'$"):
        Chosen.of(engine)


def test_engines_get_what_they_were_given(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "work"))
    of_ray = Chosen.of("ray", ["address=10.0.0.1:6379", "replaced_s=5"])
    with of_ray.opened(store, tmp_path, None, 2) as on_ray:  # nothing is started before it is used
        assert isinstance(on_ray, RayEngine)
        assert (on_ray.address, on_ray.replaced_s) == ("10.0.0.1:6379", 5.0)
        assert (on_ray.workers, on_ray.gpus) == (None, 2)
    with Chosen.of("beam", ["runner=DirectRunner"]).opened(store, tmp_path, 3, 1) as on_beam:
        assert isinstance(on_beam, BeamEngine)
        assert (on_beam.options["runner"], on_beam.workers) == ("DirectRunner", 3)
    with Chosen().opened(store, tmp_path, 3, 2) as here:
        assert isinstance(here, LocalEngine)
        assert here.counts == {"cpu": 3, "gpu": 2}


def test_engine_option_that_is_no_number_is_one_sentence(tmp_path: Path) -> None:
    chosen = Chosen.of("ray", ["replaced_s=soon"])
    with (
        pytest.raises(UsageError, match="replaced_s=soon: expected a number"),
        chosen.opened(Store(str(tmp_path)), tmp_path, None, 1),
    ):
        pass


def test_build_refuses_an_unknown_engine_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["build", "videos", "-o", str(tmp_path / "corpus"), "--engine", "flink"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("reelscript: --engine flink: ")
    assert list(tmp_path.iterdir()) == []
