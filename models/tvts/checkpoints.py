"""Files of weights of every known layout."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from reelscript.models.tvts.archives import WeightsError, read_archive
from reelscript.models.tvts.configs import TVTSConfig
from reelscript.models.tvts.export import FORMAT
from reelscript.models.tvts.name_tables import Layout
from reelscript.models.tvts.names import layout_of
from reelscript.models.tvts.sizes import config_of


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file of weights holds.

    Attributes:
        state: tensors on the CPU, by their names in the file.
        layout: whose names they are.
        config: of the network, as the file says or the shapes tell; None: neither does.
        metadata: what a safetensors file says beside the tensors.
        source: the file.
    """

    state: dict[str, Tensor]
    layout: Layout
    config: TVTSConfig | None
    metadata: dict[str, str] = field(default_factory=dict)
    source: str = "the checkpoint"

    @property
    def preprocess(self) -> Literal["official", "clean"] | None:
        """How frames were made that the weights were trained with; None: nothing says it.

        Ours say it. The released weights, and what `save_official` wrote in their layout, are taken
        to be `official`; CLIP's own want CLIP's, which `clean` is.
        """
        if self.layout == "ours":
            told = self.metadata.get("format") == FORMAT and self.config
            return told.preprocess if told else None
        return "official" if self.layout in ("tvtsv2", "tvts") else "clean"


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Returns what a file of weights holds; no code in it is run.

    Raises:
        WeightsError: it cannot be read, or holds no weights of a known layout.
    """
    archive, source = read_archive(path), os.fspath(path)
    try:
        layout = layout_of(archive.state)
        if archive.metadata.get("format") == FORMAT:
            config = TVTSConfig.from_dict(json.loads(archive.metadata.get("config", "{}")))
            return Checkpoint(archive.state, layout, config, archive.metadata, source)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{source} cannot be used: {error}") from error
    told: TVTSConfig | None = None
    with contextlib.suppress(WeightsError):
        told = config_of(archive.state)
    return Checkpoint(archive.state, layout, told, archive.metadata, source)
