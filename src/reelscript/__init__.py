"""Raw video to transcribed, segmented, filtered, deduplicated WebDataset corpora.

```python
import reelscript

reelscript.build("videos/", out="corpus")
corpus = reelscript.open("corpus")
```

`build` and `open` load what they need when they are first asked for, so that importing the package
costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reelscript.jobs.build import build
    from reelscript.reading.corpus import open_corpus as open  # noqa: A004 - read as reelscript.open

__all__ = ["__version__", "build", "open"]
__version__ = "0.1.0"

_HOMES = {
    "build": ("reelscript.jobs.build", "build"),
    "open": ("reelscript.reading.corpus", "open_corpus"),
}


def __getattr__(name: str) -> Any:
    """Returns `build` or `open`, and remembers it.

    Raises:
        AttributeError: the package has nothing of that name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    found = getattr(importlib.import_module(module), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
