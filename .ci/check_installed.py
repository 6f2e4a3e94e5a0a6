"""Checks an installed reelscript against the source tree: all files are there, modules import.

Run it with the Python of an environment that has the package and none of its extras:
`python check_installed.py TREE`.
"""

import importlib
import sys
from pathlib import Path

import reelscript

FOLDERS = ("examples", "jobs", "models", "pipeline", "reading", "schemas", "transforms")
NETWORKS = ("reelscript.models.", "reelscript.jobs.pretrain.", "reelscript.jobs.evaluate.")
EXAMPLES = ("reelscript.examples.",)
MAY_NEED = {
    "apache_beam": ("reelscript.pipeline.engines.beam.",),  # a PTransform is one from its birth
    "safetensors": NETWORKS,
    "torch": (*NETWORKS, *EXAMPLES),
    "webdataset": EXAMPLES,
    "yt_dlp": ("reelscript.transforms.sites.",),  # what runs in its child process
}
"""Packages of extras, and the modules that are imported only where they are there."""


def main(tree: Path) -> int:
    """Returns 0 where all that is in the tree was shipped and imports, else 1."""
    assert reelscript.__file__ is not None
    installed = Path(reelscript.__file__).parent
    if installed.is_relative_to(tree):
        print(f"reelscript is imported from the tree: {installed}")
        return 1
    wanted = [p.relative_to(tree) for f in FOLDERS for p in sorted((tree / f).rglob("*"))]
    wanted = [p for p in wanted if (tree / p).is_file() and "__pycache__" not in p.parts]
    missing = [str(p) for p in [*wanted, Path("py.typed")] if not (installed / p).is_file()]
    if missing:
        print("not shipped:", ", ".join(missing))
        return 1
    python = [p.with_suffix("") for p in wanted if p.suffix == ".py"]
    modules = [".".join(["reelscript", *p.parts]).removesuffix(".__init__") for p in python]
    lacking = {module: lacked for module in modules if (lacked := lacked_by(module))}
    wrong = [f"{m} ({of})" for m, of in lacking.items() if not m.startswith(MAY_NEED.get(of, ()))]
    if wrong:
        print("cannot be imported without an extra:", ", ".join(wrong))
        return 1
    print(
        f"the wheel holds {len(wanted)} files; {len(modules) - len(lacking)} modules import "
        f"without any extra, {len(lacking)} of networks, sites, Beam and examples need one"
    )
    return 0


def lacked_by(module: str) -> str | None:
    """Returns the package without which a module cannot be imported; None: it can."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return (error.name or "").partition(".")[0]
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
