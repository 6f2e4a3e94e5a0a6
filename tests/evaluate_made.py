"""Networks whose abilities are known, and windows for them.

A window shows K shades of grey, one after the other, and each transcript is the name of one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reelscript.jobs.evaluate.towers import Towers
from reelscript.jobs.features.network import Network
from reelscript.models.tvts import configs
from reelscript.models.tvts.frames import CLIP_MEAN, CLIP_STD
from reelscript.models.tvts.model import TVTS
from reelscript.models.tvts.text import TextOutput
from reelscript.models.tvts.tokenizer import tokens_of
from reelscript.models.tvts.video import VideoOutput
from reelscript.models.tvts.weights import save
from reelscript.pipeline.plan import plan_shards
from reelscript.pipeline.store import Store
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.clip import Passage, sample_key
from reelscript.schemas.sample import FORMAT
from reelscript.schemas.tables import CLIPS, SAMPLES, VIDEOS
from reelscript.transforms.sample import sample_parts
from reelscript.transforms.shard import write_shard, write_table
from tests.corpus_made import TRANSCRIPT, made_clips, made_video, put_mp4, words_of

WORDS = ("red", "green", "blue", "gold", "pink", "grey", "brown", "black")
FIRST, STEP = 20, 30  # grey level of the first word, and between two
PX, FRAMES, K = 32, 12, 4

Sorter = Callable[[Tensor, Tensor], Tensor]


def tiny_config(mask_ratio: float = 0.5) -> configs.TVTSConfig:
    config = configs.debug()
    sizes: dict[str, Any] = {
        "image_px": 32,
        "patch_px": 16,
        "blocks": 1,
        "width": 48,
        "mask_ratio": mask_ratio,
    }
    return dataclasses.replace(
        config,
        name="tiny",
        embed_dim=48,
        video=dataclasses.replace(config.video, **sizes),
        text=dataclasses.replace(config.text, width=48, blocks=1),
        sorting=dataclasses.replace(config.sorting, width=48),
    )


def tiny_checkpoint(path: Path, seed: int = 0, **settings: Any) -> Path:
    """Writes a network with random weights."""
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(TVTS(tiny_config(**settings)), path)
    return path


def sees(video: Tensor, texts: Tensor) -> Tensor:
    """A head that puts each word where its shade is seen."""
    return texts @ video.transpose(1, 2)


def reads(video: Tensor, texts: Tensor) -> Tensor:
    """A head that never looks: it puts words into the order of WORDS."""
    numbers = texts.argmax(-1)  # (B, K)
    places = numbers.argsort(1).argsort(1)
    return nn.functional.one_hot(places, texts.shape[1]).float()


def cheats(video: Tensor, texts: Tensor) -> Tensor:
    """A head that says what stands first comes first."""
    return torch.eye(texts.shape[1]).expand(len(texts), -1, -1)


class MadeModel(nn.Module):
    """Embeds shades and words by their number in WORDS; sorts with a function."""

    def __init__(self, sorter: Sorter) -> None:
        super().__init__()
        self.config = tiny_config()
        self.sorter_ = sorter
        self.masks: list[object] = []  # with which the video tower was called
        self.video_calls = 0
        ids = tokens_of(WORDS)[:, 1]
        self.word_of = {int(token): number for number, token in enumerate(ids)}

    def video(self, frames: Tensor, keep: Tensor | None = None) -> VideoOutput:
        assert not self.training
        assert frames.shape[1:] == (FRAMES, 3, PX, PX)
        self.masks.append(keep)
        self.video_calls += 1
        level = frames[:, :, 0].mean((2, 3)) * CLIP_STD[0] + CLIP_MEAN[0]  # (B, T), 0..1
        number = ((level * 255 - FIRST) / STEP).round().long().clip(0, len(WORDS) - 1)
        shades = nn.functional.one_hot(number, len(WORDS)).float()
        tokens = shades.unflatten(1, (K, -1)).mean(2)  # (B, K, words)
        return VideoOutput(tokens.mean(1), tokens)

    def text(self, ids: Tensor) -> TextOutput:
        numbers = torch.tensor([self.word_of[int(row[1])] for row in ids])
        made = nn.functional.one_hot(numbers, len(WORDS)).float()
        return TextOutput(made, made)

    def sorter(self, video: Tensor, texts: Tensor) -> Tensor:
        return self.sorter_(video, texts)


def made_towers(sorter: Sorter = sees) -> Towers:
    model: Any = MadeModel(sorter).eval()
    return Towers(Network(model, "0" * 64, "cpu", "float32"), "clean")


def shades(words: Sequence[str]) -> NDArray[np.uint8]:
    """Frames, (K, T / K, PX, PX, 3), that show these words one after the other."""
    levels = [FIRST + STEP * WORDS.index(word) for word in words]
    shape = (len(words), FRAMES // len(words), PX, PX, 3)
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None, None], shape)


@dataclasses.dataclass
class MadeWindows:
    """Windows of some videos, in batches; each pass is counted."""

    said: list[tuple[str, list[str]]]  # key, what is said
    shown: list[list[str]]
    batch: int = 3
    passes: int = 0

    def __call__(self) -> Iterator[dict[str, Any]]:
        self.passes += 1
        for start in range(0, len(self.said), self.batch):
            some = self.said[start : start + self.batch]
            yield {
                "frames": np.stack([shades(w) for w in self.shown[start : start + self.batch]]),
                "texts": [list(words) for _, words in some],
                "keys": [key for key, _ in some],
            }


def made_windows(videos: int, each: int = 1, seed: int = 0, in_order: bool = False) -> MadeWindows:
    """Windows of K different words; in the order of WORDS, or in any."""
    chance = np.random.default_rng(seed)
    said = []
    for video in range(videos):
        for n in range(each):
            numbers = chance.choice(len(WORDS), K, replace=False)
            words = [WORDS[i] for i in (sorted(numbers) if in_order else numbers)]
            said.append((f"x_{video:03d}-{n * 1000:09d}", words))
    return MadeWindows(said, [list(words) for _, words in said])


def held_out_corpus(folder: Path, videos: int = 4, clips: int = 8, split: str = "val") -> Path:
    """Makes a corpus of videos of `clips` clips of a second each, all of one split."""
    work = folder.with_name(f"{folder.name}.work")
    workspace = Workspace(Store(str(work / "store")), work / "scratch")
    store = Store(str(folder))
    parts, clip_rows, video_rows = {}, [], []
    for number in range(videos):
        video, own = made_video(f"x_{number:03d}"), made_clips(clips)
        key = sample_key(video.video_id, 0.0)
        passage = Passage(key, 0.0, own[-1].end_s, split, list(range(clips)))
        encoding = put_mp4(workspace, key, own[-1].end_s)
        parts[key] = sample_parts(video, passage, own, words_of(own), encoding, TRANSCRIPT)
        clip_rows += [_row(CLIPS, clip, video_id=video.video_id, sample_key=key) for clip in own]
        counts = {"clips_kept": clips, "clips_rejected": 0, "timings": "{}"}
        video_rows.append(_row(VIDEOS, video, **counts))
    plans = plan_shards([part.planned() for part in parts.values()], [], 1 << 30, 0)
    shards = [write_shard(p.name, (parts[k] for k in p.keys), workspace, store) for p in plans]
    samples = [row for shard in shards for row in shard.rows.to_pylist()]
    tables = {
        name: pa.Table.from_pylist(rows, schema=schema)
        for name, schema, rows in (
            ("videos", VIDEOS, video_rows),
            ("clips", CLIPS, clip_rows),
            ("samples", SAMPLES, samples),
        )
    }
    info = {
        "format": FORMAT,
        "name": "made",
        "counts": {"samples": videos},
        "shards": [shard.entry for shard in shards],
        "fingerprint": "0" * 64,
        "releases": [],
        "tables": {n: write_table(store, f"{n}.parquet", t) for n, t in tables.items()},
    }
    store.put("dataset.json", json.dumps(info).encode())
    return folder


def _row(schema: pa.Schema, record: Any, **known: Any) -> dict[str, Any]:
    scores = getattr(record, "scores", None)
    row = {name: getattr(record, name, getattr(scores, name, None)) for name in schema.names}
    return row | {"outcome": "kept"} | known
