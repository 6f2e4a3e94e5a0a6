"""The settings that a finished corpus was built with, as its config.yaml tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from reelscript.jobs.config import NOT_YAML, Config, config_from
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.store import Store
from reelscript.reading.releases import release_folder, release_of
from reelscript.schemas.text import one_line

CONFIG = "config.yaml"


def standing_config(store: Store, info: Mapping[str, Any]) -> Config:
    """Returns the settings that a corpus was built with.

    The copy that its release keeps is read before the one at the top, which people may change.

    Args:
        store: the corpus folder.
        info: its dataset.json.

    Raises:
        DataError: its config.yaml is missing, or none that this version reads.
    """
    where = f"{one_line(store.url)}/{CONFIG}"
    for place in (f"{release_folder(release_of(info))}/{CONFIG}", CONFIG):
        try:
            data = yaml.safe_load(store.get(place))
        except FileNotFoundError:
            continue
        except NOT_YAML:
            raise DataError(f"{where} is not YAML: is the corpus damaged?") from None
        if not isinstance(data, dict):
            raise DataError(f"{where} is not a config: is the corpus damaged?")
        try:
            return config_from(data, where)
        except UsageError as error:
            raise DataError(str(error)) from None
    raise DataError(f"{where} is missing: the settings of the corpus are not known")


def config_or_why(store: Store, info: Mapping[str, Any]) -> tuple[Config | None, str | None]:
    """Returns what `standing_config` returns, or None and in one sentence why it cannot."""
    try:
        return standing_config(store, info), None
    except DataError as error:
        return None, str(error)
