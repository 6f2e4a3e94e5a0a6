"""Which engine a build runs on: by its name, and options as the command line has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from reelscript.jobs.doctor.packages import pip_install
from reelscript.pipeline.engines.local import LocalEngine, default_workers
from reelscript.pipeline.engines.protocols import Engine
from reelscript.pipeline.errors import UsageError, nearest
from reelscript.pipeline.store import Store
from reelscript.schemas.text import one_line

T = TypeVar("T")
NAMES = ("local", "ray", "beam")
PACKAGES = {"ray": "ray", "beam": "apache_beam"}  # the module that tells whether it is there
OF_RAY: Mapping[str, Callable[[str], object]] = {
    "address": str,
    "object_store_bytes": int,
    "replaced_s": float,
}


@dataclass(frozen=True)
class Chosen:
    """An engine as it was asked for.

    Attributes:
        name: local, ray or beam.
        options: what only this engine knows, by name.
    """

    name: str = "local"
    options: Mapping[str, str] | None = None

    @classmethod
    def of(cls, name: str, options: Sequence[str] = ()) -> Chosen:
        """Returns what `--engine NAME --engine-option KEY=VALUE ...` asks for.

        Raises:
            UsageError: there is no such engine or option, or its package is not installed.
        """
        if name not in NAMES:
            raise UsageError(f"--engine {one_line(name, 60)}: {nearest(name, NAMES)}")
        told: dict[str, str] = {}
        for key, value in map(_key_and_value, options):
            if key in told:
                raise UsageError(
                    f"--engine-option {one_line(key, 60)} is there twice: values of one option are "
                    "separated by commas"
                )
            told[key] = value
        known = {"local": (), "ray": tuple(OF_RAY)}.get(name)
        for key in told:
            if known is not None and key not in known:
                has = nearest(key, known) if known else f"the engine {name} has no options"
                raise UsageError(f"--engine-option {one_line(key, 60)}: {has}")
        if {"address", "object_store_bytes"} <= told.keys():
            raise UsageError(
                "--engine-option object_store_bytes is of a cluster of our own: leave it away "
                "where there is an address"
            )
        _check_installed(name)
        return cls(name, told)

    @contextmanager
    def opened(
        self, store: Store, scratch: Path, workers: int | None, gpus: int
    ) -> Iterator[Engine]:
        """Gives the engine for the time of a build.

        Args:
            store: the work folder.
            scratch: a folder on this machine.
            workers: CPU workers; None: one a core, or all that a cluster has free.
            gpus: GPU workers, where a stage needs a GPU.
        """
        told = self.options or {}
        if self.name == "ray":
            from reelscript.pipeline.engines.ray.engine import RayEngine

            of_ray = {key: _read(key, value, OF_RAY[key]) for key, value in told.items()}
            with RayEngine(store, workers, gpus, **of_ray) as on_ray:  # type: ignore[arg-type]
                yield on_ray
        elif self.name == "beam":
            from reelscript.pipeline.engines.beam.engine import BeamEngine

            yield BeamEngine(store, workers or default_workers(), gpus, options=told)
        else:
            yield LocalEngine(store, scratch, workers or default_workers(), gpus)


def _key_and_value(option: str) -> tuple[str, str]:
    key, _, value = option.partition("=")
    if not (key and value):
        raise UsageError(
            f"--engine-option {one_line(option, 100)}: expected KEY=VALUE such as address=auto"
        )
    return key, value


def _read(key: str, value: str, kind: Callable[[str], T]) -> T:
    try:
        return kind(value)
    except ValueError:
        raise UsageError(
            f"--engine-option {key}={one_line(value, 60)}: expected a number"
        ) from None


def _check_installed(name: str) -> None:
    from importlib.util import find_spec

    if name in PACKAGES and find_spec(PACKAGES[name]) is None:
        raise UsageError(
            f"the engine {name} needs packages that are not installed: "
            + pip_install(f"reelscript[{name}]")
        )
