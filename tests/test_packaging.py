import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import reelscript

ROOT = Path(__file__).parents[1]
FLOORS = ("jobs", "models", "pipeline", "reading", "schemas", "transforms")
SHIPPED = (*FLOORS, "examples")  # the demo needs its videos, whoever installs reelscript
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def packages_on_disk() -> dict[str, str]:
    """Every folder with an __init__.py below a floor: package name -> folder."""
    found = {"reelscript": "src/reelscript"}
    for floor in SHIPPED:
        for init in (ROOT / floor).rglob("__init__.py"):
            folder = init.parent.relative_to(ROOT)
            found[".".join(["reelscript", *folder.parts])] = folder.as_posix()
    return found


def test_packaging_ships_every_package_that_is_on_disk() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages_on_disk())


def test_packaging_maps_every_package_to_its_folder() -> None:
    assert SETUPTOOLS["package-dir"] == packages_on_disk()


def test_packaging_has_no_python_folder_without_init() -> None:
    folders = {p.parent for floor in SHIPPED for p in (ROOT / floor).rglob("*.py")}
    assert [str(f) for f in folders if not (f / "__init__.py").is_file()] == []


def test_packaging_ships_every_data_file() -> None:
    folders = SETUPTOOLS["package-dir"]
    patterns = [
        pattern if package == "*" else f"{folders[package]}/{pattern}"
        for package, own in SETUPTOOLS["package-data"].items()
        for pattern in own
    ]
    files = [p for floor in SHIPPED for p in (ROOT / floor).rglob("*") if p.is_file()]
    data = [p for p in files if p.suffix not in (".py", ".pyc")]
    assert [str(p) for p in data if not any(p.match(pattern) for pattern in patterns)] == []


@pytest.mark.parametrize("floor", SHIPPED)
def test_packaging_link_leads_to_its_floor(floor: str) -> None:
    link = ROOT / "src" / "reelscript" / floor
    assert link.readlink().as_posix() == f"../../{floor}"
    assert link.resolve() == (ROOT / floor).resolve()


def test_packaging_has_one_version() -> None:
    assert reelscript.__version__ == PROJECT["project"]["version"]
    assert f"## [{reelscript.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_packaging_has_a_module_name_for_every_noun() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}
    modules = [p for floor in FLOORS for p in (ROOT / floor).rglob("*.py")]
    assert [str(p) for p in modules if vague & set(p.stem.split("_"))] == []


def test_packaging_imports_floors_through_reelscript_only() -> None:
    wrong = []
    for path in (p for floor in (*FLOORS, "tests") for p in (ROOT / floor).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            wrong += [f"{path}: {n}" for n in names if n.split(".")[0] in FLOORS]
    assert wrong == []


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_packaging_import_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'pyarrow', 'av', 'click', 'pydantic', 'fsspec', 'faster_whisper', 'torch'}"
    code = f"import sys, reelscript; print(sorted({heavy} & set(sys.modules)))"
    assert run_python(code) == "[]"


def test_packaging_help_loads_no_model_library() -> None:
    heavy = "{'torch', 'ray', 'apache_beam', 'faster_whisper', 'ctranslate2', 'httpx', 'av'}"
    code = (
        "import sys\nfrom reelscript.jobs.cli import main\nsys.argv = ['reelscript', '--help']\n"
        "sys.stdout, real = __import__('io').StringIO(), sys.stdout\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(sorted({heavy} & set(sys.modules)), file=real)"
    )
    assert run_python(code) == "[]"


def test_packaging_offers_build_and_open() -> None:
    assert callable(reelscript.build)
    assert callable(reelscript.open)
    assert set(dir(reelscript)) == {"__version__", "build", "open"}


def test_packaging_has_no_attribute_that_it_does_not_offer() -> None:
    with pytest.raises(AttributeError, match="no attribute 'bild'"):
        reelscript.bild  # noqa: B018 - the access is what is tested


def test_packaging_examples_use_no_order_words() -> None:
    order = r"\b(first|second|then|next|finally|last|after|before|later|afterwards|primero|luego)\b"
    scenes = (ROOT / "examples/scenes.py").read_text("utf-8")
    events = re.findall(r'Event\(\s*"\w+",\s*"([^"]+)",?\s*\)', scenes)
    assert len(events) == 25
    assert [text for text in events if re.search(order, text, re.IGNORECASE)] == []


def test_packaging_demo_videos_tell_what_the_scenes_say() -> None:
    scenes = (ROOT / "examples/scenes.py").read_text("utf-8")
    for path in sorted((ROOT / "examples/videos").glob("*.json")):
        truth = json.loads(path.read_text("utf-8"))
        times = [t for s in truth["sentences"] for t in (s["start_s"], s["end_s"])]
        assert times == sorted(times)
        assert times[-1] < truth["duration_s"]
        for sentence in truth["sentences"]:
            assert f'"{sentence["text"]}"' in scenes
            words = sentence["words"]
            assert not words or " ".join(w["word"] for w in words) == sentence["text"]
            within = [t for w in words for t in (w["start_s"], w["end_s"])]
            assert within == sorted(within)
            assert all(sentence["start_s"] <= t <= sentence["end_s"] for t in within)


def test_packaging_demo_videos_stay_small() -> None:
    assert sum(p.stat().st_size for p in (ROOT / "examples/videos").iterdir()) < 3_000_000
