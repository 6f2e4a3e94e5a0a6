"""Where Linux keeps what our control groups, and so a container, may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def control_groups(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Yields the folders of the control groups that we are in and of those above them.

    See cgroups(7). In a container the topmost folder may be our own group, whatever its path is
    called outside; so each level is named, and need not be there.

    Args:
        controller: as version 1 names it: "cpu", "memory". Version 2 has one folder for all.
        root: where /proc and /sys are.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:  # hierarchy:controllers:path
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        folder = root / "sys/fs/cgroup" / (controller if controllers else "")
        parts = [p for p in path.split("/") if p not in ("", ".", "..")]
        for depth in range(len(parts) + 1):
            yield folder.joinpath(*parts[:depth])
