"""What became of a network's tensors when weights were loaded."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

# What people call a group of tensors; the first that fits.
_GROUPS = {
    r"video\.blocks\.\d+\.(time_attention|norm_time)\..*": "attention over time",
    r"video\.time_embedding": "time embedding",
    r"(video|text)\.projection\..*": "projection of {}",
    r"(video|text)\..*": "{} tower",
    r"sorter\..*": "sorting head",
}
_NAMED = 5  # names in one message


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a network's tensors; printed, it is one line by groups.

    Attributes:
        loaded: how many were loaded.
        missing: our names of those that the file does not have; they are as they were.
        unexpected: names in the file of what was left out on purpose, such as `logit_scale`.
        initialised: of the missing, those that were set from what was loaded.
    """

    loaded: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    initialised: tuple[str, ...]

    def __str__(self) -> str:
        kept = [name for name in self.missing if name not in self.initialised]
        parts = [f"{self.loaded} tensors loaded"]
        if kept:
            parts.append(f"as initialised: {_grouped(kept)}")
        if self.initialised:
            parts.append(f"copied from what was loaded: {_grouped(self.initialised)}")
        if self.unexpected:
            parts.append(f"left out of the file: {some(self.unexpected)}")
        return "; ".join(parts)


def some(names: list[str] | tuple[str, ...]) -> str:
    """Returns the first few names and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _grouped(names: list[str] | tuple[str, ...]) -> str:
    """Returns the groups that names are of, the largest first, with how many they have."""
    counts = Counter(_group(name) for name in names)
    return ", ".join(
        f"{group} ({count})" if count > 1 else group for group, count in counts.most_common()
    )


def _group(name: str) -> str:
    for pattern, group in _GROUPS.items():
        if found := re.fullmatch(pattern, name):
            return group.format(*found.groups())
    return name
