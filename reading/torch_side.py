"""What a reader has to do with torch, which need not be installed."""

from __future__ import annotations

import contextlib
import sys


def this_worker() -> tuple[int, int]:
    """Returns which of how many workers of torch's DataLoader this process is."""
    torch_data = sys.modules.get("torch.utils.data")  # not there: then this is no worker
    info = torch_data.get_worker_info() if torch_data is not None else None
    return (0, 1) if info is None else (info.id, info.num_workers)


def tell_torch(stream: type) -> None:
    """Makes a class an IterableDataset for torch's DataLoader, if torch is installed."""
    with contextlib.suppress(ImportError):
        from torch.utils.data import IterableDataset

        IterableDataset.register(stream)
