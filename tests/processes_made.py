"""Processes for tests of who is alive."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def dead_process() -> dict[str, Any]:
    """Who a process was that has ended."""
    code = "import json; from reelscript.pipeline.processes import this_process as t;"
    made = subprocess.run(
        [sys.executable, "-c", f"{code} print(json.dumps(t()))"], capture_output=True, check=True
    )
    found: dict[str, Any] = json.loads(made.stdout)
    return found
