"""A real voice whose sentences are kept on disk: each is synthesised once, whoever asks."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import platformdirs

from reelscript.examples.voices import SLOWER, EnglishVoice, Sound, SpokenWord
from reelscript.pipeline.errors import UsageError

VOICE = f"en_US-joe-medium {SLOWER}"


def voice_folder() -> Path:
    """Returns where sentences are kept unless another folder is named."""
    return Path(platformdirs.user_cache_dir("reelscript")) / "voice"


class StoredVoice:
    """Piper's voice. What it said before is read from `folder`, at 130 kB a sentence.

    Raises:
        UsageError: a sentence is not stored, and the voice is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.voice: EnglishVoice | None = None

    def say(self, text: str) -> tuple[Sound, list[SpokenWord]]:
        """Returns a sentence as sound, and its words with times from the start of that sound."""
        name = hashlib.sha256(f"{VOICE}\n{text}".encode()).hexdigest()[:32]
        path = self.folder / name[:2] / f"{name}.npz"
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # not there, or damaged
            self._store(path, *self._synthesised(text))
        return _read(path)

    def _synthesised(self, text: str) -> tuple[Sound, list[SpokenWord]]:
        try:
            self.voice = self.voice or EnglishVoice()
        except ModuleNotFoundError as error:
            raise UsageError(
                f"the voice needs {error.name}, which is not installed: "
                "pip install 'reelscript[make-videos]' (or take the sound 'babble')"
            ) from None
        return self.voice.say(text)

    def _store(self, path: Path, sound: Sound, words: list[SpokenWord]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".part-{os.getpid()}-{path.stem}")
        samples = np.round(sound * 32767).astype(np.int16)
        with part.open("wb") as file:
            np.savez(file, sound=samples, words=json.dumps([asdict(word) for word in words]))
        part.replace(path)


def _read(path: Path) -> tuple[Sound, list[SpokenWord]]:
    with path.open("rb") as file, np.load(file) as stored:
        sound = stored["sound"].astype(np.float32) / np.float32(32767)
        return sound, [SpokenWord(**word) for word in json.loads(str(stored["words"]))]
