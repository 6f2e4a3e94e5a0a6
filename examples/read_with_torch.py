"""Reads windows to train on: `python examples/read_with_torch.py demo-corpus`.

Each window is four consecutive transcripts of one passage and twelve frames spread over them. This
shows all that a trainer does about its data: batches from workers, where it is, and going on there.
Needs torch (`pip install "reelscript[train]"`).
"""

from __future__ import annotations

import sys
from typing import Any

import torch  # noqa: TID253
from torch.utils.data import DataLoader  # noqa: TID253

import reelscript

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])  # CLIP's, arXiv 2103.00020
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711])


def main(corpus: str) -> None:
    """Prints the batches of an epoch, and those of the next from a state that was kept."""
    windows = reelscript.open(corpus).windows(k=4, frames=12, batch_size=2)
    print(f"{len(windows)} steps an epoch; refused: {windows.refused}")
    loader: DataLoader[dict[str, Any]] = DataLoader(windows, batch_size=None, num_workers=2)
    checkpoint = windows.state_dict()
    for batch in loader:
        frames = (batch["frames"] / 255 - MEAN) / DEVIATION  # (B, T, H, W, 3), on a GPU if any
        video = frames.permute(0, 1, 4, 2, 3)  # (B, T, 3, H, W), what `models.tvts` takes
        print(tuple(video.shape), batch["key"], batch["text"][0][0])
        windows.received(batch)
        checkpoint = windows.state_dict()  # goes into the checkpoint, beside the weights

    again = reelscript.open(corpus).windows(k=4, frames=12, batch_size=2)
    again.load_state_dict(checkpoint)
    print(f"on with epoch {checkpoint['epoch']}, position {checkpoint['position']}")
    for batch in DataLoader(again, batch_size=None, num_workers=2):
        again.received(batch)
        print(batch["key"], batch["window"].tolist())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "demo-corpus")
