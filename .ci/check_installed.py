"""Checks an installed reelscript against the source tree: all files are there, modules import.

Run it with the Python of an environment that has the package and none of its extras:
`python check_installed.py TREE`.
"""

import importlib
import sys
from pathlib import Path

import reelscript

TRAIN = ("safetensors", "torch")  # of the extra `train`, which networks need at once ...
NETWORKS = ("reelscript.models.", "reelscript.jobs.pretrain.", "reelscript.jobs.evaluate.")
OTHERS = ("webdataset",)  # ... and what examples show, of no extra but `test`
FOLDERS = ("examples", "jobs", "models", "pipeline", "reading", "schemas", "transforms")


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
    need_train = [module for module in modules if not imports(module.removesuffix(".__init__"))]
    outside = [m for m in need_train if not m.startswith((*NETWORKS, "reelscript.examples."))]
    if outside:
        print("need the extra `train` to be imported:", ", ".join(outside))
        return 1
    print(
        f"the wheel holds {len(wanted)} files; {len(modules) - len(need_train)} modules import "
        f"without any extra, {len(need_train)} of networks need [train]"
    )
    return 0


def imports(module: str) -> bool:
    """Returns whether a module imports; False if only a package of the extra `train` is missing."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name in (*TRAIN, *OTHERS):
            return False
        raise
    return True


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
