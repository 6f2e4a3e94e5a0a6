"""The sound of a video from a site, judged before the picture is fetched.

Most of what a crawl rejects, it rejects for what is heard: nobody speaks, or another language.
Sites that offer the sound alone give that answer for a part of the bytes. What passes is fetched
whole afterwards, and judged again by its own sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from reelscript.pipeline.errors import StageError
from reelscript.pipeline.stage import Live, Stage, tuning
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.text import digest
from reelscript.schemas.video import Video
from reelscript.transforms.acquire import Acquire
from reelscript.transforms.asking import site_options_of, web_of
from reelscript.transforms.fetch import by_site, fetch_sound
from reelscript.transforms.media import Undecodable, open_media
from reelscript.transforms.speech import Speech
from reelscript.transforms.tracks import chosen_sound, tracks_of

MOST_PACKETS = 10_000_000
NO_SOUND_ALONE = "no_sound_alone"


@dataclass(frozen=True)
class HearFirst(Stage):
    """Voice and language of a source that its site offers as sound alone; no facts of others.

    It has no section of its own: `acquire.audio_first` says whether there is such a stage.

    Attributes:
        acquire: how sites are asked.
        speech: judges; on the CPU, so that nothing waits for a GPU before it is fetched.
    """

    acquire: Acquire = tuning(Acquire())
    speech: Speech = field(default_factory=Speech)

    name: ClassVar[str] = "hear_first"
    rejects: ClassVar[tuple[str, ...]] = Speech.rejects
    reads: ClassVar[tuple[str, ...]] = ("stated_language",)
    writes: ClassVar[tuple[str, ...]] = ("duration_s", *Speech.writes)
    artefacts: ClassVar[tuple[str, ...]] = ("voice",)

    def settings(self) -> dict[str, Any]:
        """Returns the settings that results depend on: those of speech."""
        return self.speech.settings()

    def all_settings(self) -> dict[str, Any]:
        """Returns the settings that facts and judgements depend on: those of speech."""
        return self.speech.all_settings()

    @property
    def patience_s(self) -> float:
        """As that of acquire."""
        return self.acquire.patience_s

    def key(self, video: Video) -> str:
        """Returns what the result is remembered under: settings, source, stated language."""
        source = self.acquire.key(video)
        return digest([self.name, self.version, self.settings(), source, video.stated_language])

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function, while speech is ready."""
        with self.speech.open() as heard:

            def live(video: Video, workspace: Workspace) -> Video:
                acquire = self.acquire
                if not by_site(video.location, acquire.through):
                    return video
                if workspace.remembered(acquire.name, acquire.key(video)) is not None:
                    return video  # it is here, or known not to be a video
                folder = workspace.scratch_of(video)
                try:
                    sound = fetch_sound(
                        video.location,
                        folder,
                        web_of(self.acquire, workspace.scratch),
                        site_options_of(self.acquire),
                    )
                except StageError as error:
                    if error.kind == NO_SOUND_ALONE:
                        return video
                    raise
                try:
                    # Its decoded sound lies apart: that of the whole video is another one.
                    apart = Workspace(workspace.store, folder)
                    after = heard(_of_sound(video, sound), apart)
                finally:
                    sound.unlink(missing_ok=True)
                facts = {name: getattr(after, name) for name in self.writes}
                return replace(video, **facts)

            yield live

    def judge(self, video: Video) -> None:
        """Raises Reject where nobody speaks, or not in an accepted language."""
        if video.voice is not None:
            self.speech.judge(video)


def _of_sound(video: Video, path: Path) -> Video:
    """Returns a record of the sound as if it were the source. Raises StageError."""
    try:
        with open_media(path) as container:
            _, sounds = tracks_of(container, MOST_PACKETS)
            chosen = chosen_sound(sounds, video.stated_language)
    except Undecodable as error:
        raise StageError("undecodable_sound", str(error)) from error
    start_s = float(int(chosen.starts[0]) * chosen.time_base)
    lasts_s = chosen.end_s(start_s, sound=True) - start_s
    return replace(
        video,
        location=str(path),
        audio_stream=chosen.index,
        start_s=start_s,
        duration_s=round(lasts_s, 6),
    )
