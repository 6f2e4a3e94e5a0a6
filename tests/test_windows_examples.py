"""Others read the same tars; the example and the page of reading run as they stand."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import webdataset

import reelscript
from reelscript.reading import captioned
from reelscript.reading.faults import KINDS
from reelscript.reading.settings import StreamSettings
from reelscript.reading.windows import WindowSettings

from .test_windows_captioned import CLIP, write_tar
from .windows_made import Made, second_clips, uneven, write_corpus

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reading.md").read_text("utf-8")


@pytest.mark.filterwarnings("ignore")
def test_windows_and_webdataset_read_the_same_tars(tmp_path: Path) -> None:
    samples = [
        Made(f"x_{n}", 4.0, second_clips(4), f"train-{n % 2:06d}.tar", frames=n % 3 == 0)
        for n in range(6)
    ]
    folder = write_corpus(tmp_path / "corpus", samples)
    shards = sorted(str(path) for path in (folder / "shards").glob("train-*.tar"))
    others = {s["__key__"]: s for s in webdataset.WebDataset(shards, shardshuffle=False)}
    gc.collect()  # it leaves its files open
    ours = {step["key"]: step for step in reelscript.open(folder).windows(frames=4, px=16)}
    assert ours.keys() == others.keys()
    for key, step in ours.items():
        clips = json.loads(others[key]["json"])["clips"]
        assert step["text"] == [clip["text"] for clip in clips]
        assert ("frames.mp4" in others[key]) == (int(key[2:]) % 3 == 0)


def test_windows_example_runs(tmp_path: Path) -> None:
    folder = uneven(tmp_path / "corpus", [3, 1, 2])
    script = ROOT / "examples/read_with_torch.py"
    ours = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, script, folder],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": ours},
    )
    assert "3 steps an epoch; refused: {'too_few_clips': 0, 'empty_transcript': 0}" in done.stdout
    assert "on with epoch 1, position 0" in done.stdout


def test_docs_reading_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uneven(tmp_path / "corpus", [5, 1, 3])
    write_tar(
        tmp_path / "webvid" / "00000.tar",
        [(f"{n}.{kind}", data) for n in range(4) for kind, data in (("mp4", CLIP), ("txt", b"a"))],
    )
    monkeypatch.chdir(tmp_path)
    ran: dict[str, Any] = {"batch_size": 2, "rank": 0, "world": 1, "train": lambda *_: None}
    for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(
            compile(code.replace("num_workers=8", "num_workers=1"), "docs/reading.md", "exec"), ran
        )
    assert ran["windows"].state_dict()["epoch"] == 1


def test_docs_reading_names_every_setting_with_its_default_and_every_fault() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| `([^`|]+)` \|", PAGE, flags=re.MULTILINE))
    kinds: list[type[StreamSettings]] = [WindowSettings, captioned.CaptionedSettings]
    defaults = {f: getattr(kind(), f) for kind in kinds for f in kind.__dataclass_fields__}
    assert told == {name: repr(value).replace("'", '"') for name, value in defaults.items()}
    assert all(f"`{kind}`" in PAGE for kind in KINDS)
