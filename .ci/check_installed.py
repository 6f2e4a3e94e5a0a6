"""Checks an installed reelscript against the source tree: all files are there, all modules import.

Run it with the Python of an environment that has the package and none of its extras:
`python check_installed.py TREE`.
"""

import importlib
import sys
from pathlib import Path

import reelscript

FOLDERS = ("jobs", "models", "pipeline", "reading", "schemas", "transforms")


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
    modules = [".".join(["reelscript", *p.parts]) for p in python]
    for module in modules:
        importlib.import_module(module.removesuffix(".__init__"))
    print(f"the wheel holds {len(wanted)} files; {len(modules)} modules import without any extra")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
