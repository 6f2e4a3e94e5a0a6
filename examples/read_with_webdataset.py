"""Reads a corpus with plain webdataset: `python examples/read_with_webdataset.py demo-corpus`.

A corpus is a folder of ordinary WebDataset shards, so any loader of that format reads it. Needs
`pip install webdataset`; reelscript need not be installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import webdataset as wds


def main(corpus: Path) -> None:
    """Prints the key, the length and the first clip of every training sample."""
    shards = sorted(str(path) for path in (corpus / "shards").glob("train-*.tar"))
    if not shards:
        sys.exit(f"there are no training shards in {corpus / 'shards'}")
    for sample in wds.WebDataset(shards, shardshuffle=False):
        about = json.loads(sample["json"])
        clip = about["clips"][0]
        print(
            f"{sample['__key__']}: {about['duration_s']:.1f} s, {len(sample['mp4'])} bytes of mp4"
        )
        print(f"  {clip['start_s']:.2f}-{clip['end_s']:.2f} s: {clip['text']}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-corpus"))
