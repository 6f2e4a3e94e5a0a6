"""What doctor says of machines that lack something: each is made of fakes on PATH and sys.path."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import sysconfig
import threading
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import psutil
import pytest
from rich.console import Console

from reelscript.jobs import cli
from reelscript.jobs.doctor import (
    doctor,
    engines,
    media,
    models,
    packages,
    recognition,
    resources,
    sites,
    training,
)
from reelscript.jobs.doctor.asking import Said, said, said_by_python, started
from reelscript.jobs.doctor.finding import Answer, Finding, State
from reelscript.jobs.doctor.text import print_findings

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
PATIENT_S = 60.0
H200 = "NVIDIA H200, 570.86.15"
Program = Callable[[str, str], Path]
Install = Callable[..., None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script on PATH, where nothing else is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(folder / name))

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes a package look installed: its metadata, found before that of the real one."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def put(name: str, version: str, *lines: str) -> None:
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        text = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *lines, ""]
        (folder / "METADATA").write_text("\n".join(text))
        packages._requirements.cache_clear()

    yield put
    packages._requirements.cache_clear()


def is_said(text: str = "", fault: str | None = None, late: bool = False) -> Future[Said]:
    later: Future[Said] = Future()
    later.set_result(Said(text, fault, late))
    return later


def sees(gpus: int, lacking: str | None = None) -> Future[Said]:
    return is_said(json.dumps({"gpus": gpus, "lacking": lacking}))


def mended(answer: Answer) -> list[str]:
    assert answer.mend is not None
    return shlex.split(answer.mend)


# The whole.


def test_doctor_gives_one_finding_a_check_in_order(tmp_path: Path) -> None:
    found = doctor.doctor(str(tmp_path), within_s=PATIENT_S)
    assert [f.name for f in found] == [c.name for c in doctor.CHECKS]
    assert {f.state for f in found} <= set(get_args(State))
    assert [f.name for f in found if f.found.startswith("this check broke")] == []
    assert all(f.state != "ok" or f.mend is None for f in found)
    states = {f.name: f.state for f in found}
    assert states["FFmpeg libraries"] == states["speech recognition"] == "ok"


def test_doctor_recommends_commands_that_parse_and_extras_that_exist(
    program: Program, tmp_path: Path
) -> None:
    for finding in doctor.doctor(str(tmp_path), within_s=PATIENT_S):
        for word in shlex.split(finding.mend or ""):
            if found := re.fullmatch(r"reelscript\[(.+)\]", word):
                assert found[1] in EXTRAS
    for source in (ROOT / "jobs/doctor").glob("*.py"):
        named = re.findall(r'"reelscript\[(\w+)\]"', source.read_text("utf-8"))
        assert set(named) <= set(EXTRAS)


def checks(monkeypatch: pytest.MonkeyPatch, look: Callable[[Any], Answer], *needed_by: str) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (doctor.Check("it", needed_by, look),))


def test_doctor_turns_a_check_that_breaks_into_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(_: Any) -> Answer:
        raise ValueError("\x1b[2Jtorn")

    checks(monkeypatch, look, "build")
    (found,) = doctor.doctor(within_s=PATIENT_S)
    assert found.state == "unknown"
    assert found.found == r"this check broke: ValueError('\x1b[2Jtorn')"


@pytest.mark.parametrize("error", [TimeoutError("disk"), SystemExit(3)])
def test_doctor_does_not_take_what_a_check_raises_for_its_own(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def look(_: Any) -> Answer:
        raise error

    checks(monkeypatch, look)
    (found,) = doctor.doctor(within_s=PATIENT_S)
    assert "this check broke" in found.found


def test_doctor_does_not_wait_for_a_check_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def look(_: Any) -> Answer:
        go_on.wait()
        return Answer("ok", "too late")

    checks(monkeypatch, look, "build")
    (found,) = doctor.doctor(within_s=0.2)
    go_on.set()
    assert (found.state, found.found) == ("unknown", "not known within 0.2 s: ask again")


@pytest.mark.parametrize(
    ("needed_by", "verb", "state", "counts_as"),
    [
        (("build",), "build", "missing", "missing"),
        (("build",), "features", "missing", "absent"),
        ((), "build", "missing", "absent"),
        (("build",), "build", "unknown", "unknown"),
        ((), "build", "unknown", "warning"),
    ],
)
def test_doctor_faults_only_what_the_verb_needs(
    monkeypatch: pytest.MonkeyPatch,
    needed_by: tuple[str, ...],
    verb: str,
    state: State,
    counts_as: State,
) -> None:
    checks(monkeypatch, lambda _: Answer(state, "gone", "fetch it"), *needed_by)
    (found,) = doctor.doctor(verb=verb, within_s=PATIENT_S)
    assert found == Finding("it", counts_as, "gone", needed_by, "fetch it")


def test_doctor_prints_what_is_hostile_as_one_harmless_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hostile = Answer("missing", "a\x1b[31m\n[bold]b\u202e", "rm \x07\n[/]x")
    checks(monkeypatch, lambda _: hostile, "build")
    out = io.StringIO()
    print_findings(doctor.doctor(within_s=PATIENT_S), "build", Console(file=out, width=80))
    assert "a [31m [bold]b" in out.getvalue()
    assert "  rm [/]x\n" in out.getvalue()
    assert not set("\x1b\x07\u202e") & set(out.getvalue())


# The verb.


def test_doctor_runs_where_there_is_nothing_but_python(tmp_path: Path) -> None:
    """Without PATH and HOME, in an empty folder that shadows what doctor imports."""
    (tmp_path / "av.py").write_text("raise SystemExit('imported from here')")
    command = [str(Path(sys.executable).with_name("reelscript")), "doctor", "--json"]
    env = {"PATH": "", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "none")}
    done = subprocess.run(
        command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert list(told) == ["verb", "ready", "unknown", "findings"]
    assert told["unknown"] == [f["name"] for f in told["findings"] if f["state"] == "unknown"]
    assert done.returncode == (0 if told["ready"] else 1)
    assert [f["name"] for f in told["findings"]] == [c.name for c in doctor.CHECKS]
    for finding in told["findings"]:
        assert list(finding) == ["name", "state", "found", "needed_by", "mend"]
        assert finding["state"] in get_args(State)
        assert set(finding["needed_by"]) <= set(doctor.VERBS)
        assert "imported from here" not in finding["found"]
    (gpu,) = (f for f in told["findings"] if f["name"] == "GPU")
    assert "nvidia-smi" not in gpu["found"]


def test_doctor_runs_where_a_package_that_it_needs_is_broken(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['fsspec'] = sys.modules['psutil'] = None\n"
        "from reelscript.jobs.cli import main\nmain(['doctor', '--json'])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    found = {f["name"]: f for f in json.loads(done.stdout)["findings"]}
    assert "this check broke: ModuleNotFoundError" in found["cores and memory"]["found"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("state", "code", "last"),
    [
        ("ok", 0, "reelscript build: ready"),
        ("warning", 0, "reelscript build: ready"),
        ("unknown", 0, "reelscript build: ready, but not known: it"),
        ("missing", 1, "reelscript build: not ready, for lack of: it"),
    ],
)
def test_doctor_exits_with_1_only_where_something_is_missing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: State,
    code: int,
    last: str,
) -> None:
    mend = None if state == "ok" else "mend it"
    checks(monkeypatch, lambda _: Answer(state, "found", mend), "build")
    ended: object = 0
    try:
        cli.main(["doctor"])
    except SystemExit as end:
        ended = end.code or 0
    lines = capsys.readouterr().out.splitlines()
    assert (ended, lines[-1]) == (code, last)
    assert ("  mend it" in lines) == (state != "ok")


def test_doctor_names_what_is_not_known_beside_what_is_missing() -> None:
    names: dict[str, State] = {"GPU": "missing", "packages": "unknown", "disk": "unknown"}
    findings = [Finding(name, state, "", ("build",), None) for name, state in names.items()]
    out = io.StringIO()
    print_findings(findings, "build", Console(file=out, width=80))
    last = "reelscript build: not ready, for lack of: GPU; not known: packages, disk\n"
    assert out.getvalue().endswith(last)


def test_doctor_text_fits_80_columns_but_for_commands() -> None:
    command = "/a/very/long/path/to/python -m pip install 'reelscript[asr]' " + "x" * 80
    findings = [Finding("speech model", "missing", "word " * 60, ("build",), command)]
    out = io.StringIO()
    print_findings(findings, "build", Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert f"  {command}" in lines
    assert [line for line in lines if len(line) > 80 and command not in line] == []
    assert any("MISSING" in line for line in lines)


def test_doctor_prints_a_command_once_that_mends_two_things() -> None:
    names = {"yt-dlp": "get both", "JavaScript": "get deno", "Ray and Beam": "get both"}
    findings = [Finding(name, "absent", "", (), mend) for name, mend in names.items()]
    out = io.StringIO()
    print_findings(findings, "build", Console(file=out, width=80))
    assert "To mend:" not in out.getvalue()
    mends = "  # yt-dlp, Ray and Beam\n  get both\n  # JavaScript\n  get deno\n"
    assert f"For other verbs and sources:\n{mends}" in out.getvalue()


# Programs that misbehave.


def test_said_kills_what_hangs_with_all_that_it_started(program: Program, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    hangs = program("node", f"/bin/sleep 1000 & echo $! > {pid}; echo v99; wait")
    told = said([str(hangs)], 0.5)
    assert told.late
    assert told.fault == "gave no answer within 0.5 s"
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.wait_procs([psutil.Process(int(pid.read_text()))], timeout=PATIENT_S)
    assert not psutil.pid_exists(int(pid.read_text()))


def test_said_reads_no_more_than_it_must(program: Program) -> None:
    endless = program("node", "while :; do echo vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv; done")
    told = said([str(endless)], PATIENT_S)
    assert len(told.text) == 1 << 16
    assert told.fault == "says too much"
    assert not told.late


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("exit 0", None),
        ("exit 9", "ended with exit code 9"),
        ("kill -ILL $$", "died of SIGILL"),
    ],
)
def test_said_tells_how_a_program_ended(program: Program, script: str, fault: str | None) -> None:
    assert said([str(program("it", script))], PATIENT_S).fault == fault


def test_said_tells_of_what_cannot_be_run(program: Program, tmp_path: Path) -> None:
    assert said(["nvidia-smi"], PATIENT_S).fault == "cannot be run: No such file or directory"
    program("it", "exit 0").chmod(0o644)
    assert said(["it"], PATIENT_S).fault == "cannot be run: Permission denied"


@pytest.mark.parametrize("text", ["", "no json", "[1]", '{"a": 1', "[" * 100_000])
def test_said_has_no_facts_where_there_is_no_object(text: str) -> None:
    assert Said(text).facts() is None


def test_said_survives_a_library_that_crashes() -> None:
    told = said_by_python("import os; os.kill(os.getpid(), 11)", PATIENT_S)
    assert told.fault == "died of SIGSEGV"
    broken = told.broken("importing it", "mend")
    assert broken == Answer("missing", "importing it died of SIGSEGV", "mend")


def test_started_keeps_what_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        started(lambda: 1 // 0).result(PATIENT_S)


# Packages.


def test_doctor_reads_requirements_as_pyproject_has_them(install: Install) -> None:
    install(
        "reelscript",
        "0.1.0",
        "Requires-Dist: av<19,>=18",
        'Requires-Dist: nothing>=1; python_version < "3"',
        'Requires-Dist: langdetect>=1; extra == "asr"',
        'Requires-Dist: reelscript[asr]; extra == "demo"',
        'Requires-Dist: base==1; extra == "demo"',
        *(f"Provides-Extra: {extra}" for extra in ("asr", "demo")),
    )
    assert [str(r) for r in packages.required()] == ["av<19,>=18"]
    assert [r.name for r in packages.required("asr")] == ["langdetect"]
    assert [r.name for r in packages.required("demo")] == ["base"]


@pytest.mark.parametrize(
    ("version", "said_so"),
    [
        ("17.0.0", "av 17.0.0 (<19,>=18 needed)"),
        ("19.0", "av 19.0 (<19,>=18 needed)"),
        ("torn", "av torn (<19,>=18 needed)"),
        ("18.1.0+local", None),
        ("18.2rc1", None),
    ],
)
def test_doctor_compares_versions_with_what_is_asked_for(
    install: Install, monkeypatch: pytest.MonkeyPatch, version: str, said_so: str | None
) -> None:
    install("reelscript", "0.1.0", "Requires-Dist: av<19,>=18")
    install("av", version)
    monkeypatch.setattr(packages, "LOOK", "print({})")
    answer = packages.core(PATIENT_S)
    assert answer.state == ("ok" if said_so is None else "missing")
    if said_so is not None:
        assert answer.found == said_so
        assert mended(answer)[-1] == "av<19,>=18"


def test_doctor_names_a_package_that_is_not_there(install: Install) -> None:
    install("reelscript", "0.1.0", "Requires-Dist: not-there>=2")
    answer = packages.core(PATIENT_S)
    assert answer.found == "not-there is not there (>=2 needed)"


def test_doctor_says_what_keeps_reelscript_from_being_imported(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("reelscript", "0.1.0")
    monkeypatch.setattr(packages, "LOOK", "raise ImportError('libarrow.so: no such file')")
    answer = packages.core(PATIENT_S)
    assert answer.state == "missing"
    assert answer.found.endswith("ImportError: libarrow.so: no such file")
    monkeypatch.setattr(packages, "LOOK", "import time; time.sleep(1000)")
    late = packages.core(0.2)
    assert (late.state, late.mend) == ("unknown", None)


def test_doctor_says_of_a_python_that_is_too_old(install: Install) -> None:
    install("reelscript", "0.1.0", "Requires-Python: >=99")
    assert packages.python().state == "missing"


def test_doctor_says_of_an_installation_that_is_older_than_an_extra(install: Install) -> None:
    install("reelscript", "0.1.0")
    answer = packages.extra("train")
    assert answer.state == "missing"
    assert mended(answer)[-1] == "reelscript[train]"


def test_doctor_installs_into_the_environment_that_runs_it() -> None:
    assert shlex.split(packages.pip_install("reelscript[asr]")) == [
        *(sys.executable, "-m", "pip", "install", "reelscript[asr]")
    ]


# FFmpeg.


@pytest.mark.parametrize(
    ("lacking", "state"), [(("ENCODERS", "libnope"), "missing"), (("DECODERS", "nope"), "warning")]
)
def test_doctor_names_the_codec_that_is_lacking(
    monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, str], state: str
) -> None:
    monkeypatch.setattr(media, lacking[0], ("aac", lacking[1]))
    answer = media.ffmpeg(PATIENT_S)
    assert answer.state == state
    assert answer.found.endswith(f"code {lacking[1]}")
    assert any(word.startswith("av") for word in mended(answer))


def test_doctor_says_why_pyav_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "LOOK", "raise ImportError('libx264.so: \\x1b torn')")
    answer = media.ffmpeg(PATIENT_S)
    assert answer.state == "missing"
    assert "ImportError: libx264.so" in answer.found


# Speech recognition and GPUs.


def test_doctor_says_why_ctranslate2_does_not_load() -> None:
    torn = is_said("ImportError: libiomp5.so: cannot open", "ended with exit code 1")
    answer = recognition.packages(torn)
    assert answer.state == "missing"
    assert "libiomp5.so" in answer.found
    assert mended(answer)[-1] == "ctranslate2"


@pytest.mark.parametrize(
    ("ctranslate2", "nvidia", "state", "words"),
    [
        (sees(0), is_said(fault="cannot be run: x"), "absent", "none; builds run on the CPU"),
        (sees(0), is_said(""), "absent", "none"),
        (sees(1), is_said(H200), "ok", "NVIDIA H200, driver 570.86.15; libcublas.so.12 loads"),
        (sees(2), is_said(fault="cannot be run: x"), "ok", "2 GPUs"),
        (sees(0), is_said(fault="gave no answer", late=True), "unknown", "nvidia-smi gave no"),
        (sees(0), is_said("failed", "ended with exit code 9"), "warning", "exit code 9: failed"),
        (sees(0), is_said(H200), "warning", "CTranslate2 sees none"),
        (is_said("", "died of SIGILL"), is_said(H200), "unknown", "cannot be asked"),
        (is_said("garbage"), is_said("gar\nbage"), "absent", "none"),
    ],
)
def test_doctor_says_of_gpus_what_a_build_would_see(
    monkeypatch: pytest.MonkeyPatch,
    ctranslate2: Future[Said],
    nvidia: Future[Said],
    state: str,
    words: str,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    answer = recognition.gpu(ctranslate2, nvidia)
    assert (answer.state, words in answer.found) == (state, True), answer


@pytest.mark.parametrize("installed", [True, False])
def test_doctor_names_the_library_that_a_gpu_lacks(install: Install, installed: bool) -> None:
    if installed:
        install("nvidia-cublas-cu12", "12.9.1.4")
    lacking = "libcublas.so.12: cannot open shared object file: No such file or directory"
    answer = recognition.gpu(sees(1, lacking), is_said(H200))
    assert answer.state == "missing"
    assert lacking in answer.found
    words = mended(answer)
    assert ("nvidia-cublas-cu12" in words) != installed
    assert words[-1].startswith("LD_LIBRARY_PATH=")
    assert words[-1].endswith("/nvidia/cublas/lib:$LD_LIBRARY_PATH")


def test_doctor_asks_a_library_whether_it_loads(tmp_path: Path) -> None:
    """With a CTranslate2 that sees a GPU, on a machine without cuBLAS of CUDA 99."""
    (tmp_path / "ctranslate2.py").write_text("def get_cuda_device_count(): return 1")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{recognition.LOOK}"
    facts = said_by_python(code, PATIENT_S, "libcublas.so.99").facts()
    assert facts is not None
    assert facts["gpus"] == 1
    assert facts["lacking"].startswith("libcublas.so.99: ")


def test_doctor_says_that_a_gpu_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    answer = recognition.gpu(sees(0), is_said(H200))
    assert answer.mend == "unset CUDA_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("cuda", "listed", "state", "words"),
    [
        ("'13.0'", "", "ok", "for CUDA 13.0"),
        ("None", "", "ok", "torch 2.13.0"),
        ("None", H200, "warning", "for the CPU alone"),
        ("'12.6'", H200, "ok", "for CUDA 12.6"),
    ],
)
def test_doctor_says_whether_torch_fits_the_gpu(
    install: Install,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cuda: str,
    listed: str,
    state: str,
    words: str,
) -> None:
    asks = 'Requires-Dist: torch>=2.6; extra == "train"'
    install("reelscript", "0.1.0", "Provides-Extra: train", asks)
    install("torch", "2.13.0")
    text = f"__version__ = '2.13.0'\ncuda: Optional[str] = {cuda}\nhip: Optional[str] = None\n"
    (tmp_path / "version.py").write_text(text)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda _: spec)
    answer = training.torch(is_said(listed))
    assert (answer.state, words in answer.found) == (state, True), answer


# Models.


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The hub's settings, with an empty cache, at an address that nobody listens to."""
    monkeypatch.setattr(models.urllib.request, "getproxies", dict)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    constants = SimpleNamespace(
        HF_HUB_CACHE=str(tmp_path / "hub"),
        HF_HUB_OFFLINE=False,
        ENDPOINT=f"http://127.0.0.1:{port}",
    )
    monkeypatch.setattr(models, "_hub", lambda: constants)
    return constants


def model(gpus: int = 0) -> Answer:
    return models.model(sees(gpus), PATIENT_S)


def fetched(hub: SimpleNamespace, repository: str) -> Path:
    cache = Path(hub.HF_HUB_CACHE) / repository
    folder = cache / "snapshots" / "0f1e"
    for path in (cache / "refs", folder):
        path.mkdir(parents=True)
    (cache / "refs" / "main").write_text("0f1e")
    for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt"):
        (folder / name).write_bytes(b"some")
    return folder


def test_doctor_knows_the_repositories_that_faster_whisper_takes() -> None:
    from faster_whisper.utils import _MODELS

    assert models.repositories() == _MODELS


@pytest.mark.parametrize(
    ("gpus", "name", "owner"), [(0, "small", "Systran"), (1, "large-v3-turbo", "mobiuslabsgmbh")]
)
def test_doctor_finds_the_default_model_of_the_device(
    hub: SimpleNamespace, gpus: int, name: str, owner: str
) -> None:
    fetched(hub, f"models--{owner}--faster-whisper-{name}")
    answer = model(gpus)
    assert answer.state == "ok"
    assert answer.found.startswith(f"{name}, ")
    assert model(1 - gpus).state != "ok"


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json", "vocabulary.txt"])
def test_doctor_takes_no_model_that_is_fetched_in_part(hub: SimpleNamespace, name: str) -> None:
    path = fetched(hub, "models--Systran--faster-whisper-small") / name
    assert model().state == "ok"
    path.unlink()
    path.symlink_to("../../blobs/gone")
    assert model().state != "ok"


def test_doctor_takes_no_model_that_the_recogniser_does_not_take(hub: SimpleNamespace) -> None:
    fetched(hub, "models--somebody--faster-whisper-small")
    folder = fetched(hub, "models--Systran--faster-whisper-small")
    folder.rename(folder.with_name("older"))
    assert model().state != "ok"


def test_doctor_does_not_guess_the_device_where_ctranslate2_is_late(hub: SimpleNamespace) -> None:
    assert models.model(is_said(late=True), PATIENT_S).state == "unknown"


def test_doctor_says_what_will_be_fetched_where_the_hub_answers(hub: SimpleNamespace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        hub.ENDPOINT = f"http://127.0.0.1:{server.getsockname()[1]}"
        answer = model()
        hub.HF_HUB_OFFLINE = True
        assert "is not reached" in model().found
    assert answer.state == "warning"
    assert "the first build fetches about 488 MB" in answer.found
    assert "download_model('small')" in mended(answer)[-1]


def test_doctor_does_not_wait_for_a_name_server(
    hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: go_on.wait())
    assert not models._answers(hub, 0.2)
    go_on.set()


def test_doctor_asks_the_proxy_that_stands_before_the_hub(
    hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        there = {"http": f"http://127.0.0.1:{proxy.getsockname()[1]}"}
        hub.ENDPOINT = "http://hub.invalid"
        monkeypatch.setattr(models.urllib.request, "getproxies", lambda: there)
        assert "the first build fetches" in model().found


@pytest.mark.parametrize(
    ("carried", "state", "last"),
    [
        ([], "missing", "reelscript[demo]"),
        (["tiny.en"], "missing", "reelscript[demo]"),
        (["tiny.en", "base"], "missing", "transcribe.model=base"),
    ],
)
def test_doctor_names_a_model_that_can_be_used_without_the_hub(
    hub: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    carried: list[str],
    state: str,
    last: str,
) -> None:
    monkeypatch.setattr(models, "packaged", lambda: carried)
    answer = model()
    assert (answer.state, mended(answer)[-1]) == (state, last)
    assert all(name in answer.found for name in carried)


def test_doctor_says_nothing_of_models_without_what_reads_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models, "_hub", lambda: None)
    assert mended(model())[-1] == "reelscript[asr]"


# Video sites and pages.


@pytest.fixture
def sites_extra(install: Install) -> Install:
    """Makes reelscript ask for what its extra `sites` asks for."""
    asked = 'Requires-Dist: yt-dlp>=2026; extra == "sites"'
    install("reelscript", "0.1.0", "Provides-Extra: sites", asked)
    return install


@pytest.fixture
def a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "_today", lambda: datetime.date(2026, 11, 21))


@pytest.mark.parametrize(
    ("version", "state", "said_so"),
    [
        ("2026.10.26", "ok", "yt-dlp 2026.10.26, 26 days old"),
        ("2026.11.20.232815.dev0", "ok", "yt-dlp 2026.11.20.232815.dev0, 1 days old"),
        ("2026.11.22", "ok", "yt-dlp 2026.11.22, 0 days old"),
        ("2026.8.23", "ok", "yt-dlp 2026.8.23, 90 days old"),
        ("2026.8.22", "warning", "yt-dlp 2026.8.22, 91 days old: sites have changed since"),
        ("2026.13.45", "ok", "yt-dlp 2026.13.45"),
        ("3000", "ok", "yt-dlp 3000"),
    ],
)
def test_doctor_tells_the_age_of_yt_dlp(
    sites_extra: Install, a_day: None, version: str, state: str, said_so: str
) -> None:
    sites_extra("yt-dlp", version)
    answer = sites.yt_dlp(PATIENT_S)
    assert (answer.state, answer.found) == (state, said_so)


@pytest.mark.parametrize(("ejs", "newest"), [(True, "yt-dlp[default]"), (False, "yt-dlp")])
def test_doctor_renews_yt_dlp_with_the_scripts_that_fit_it(
    sites_extra: Install, a_day: None, monkeypatch: pytest.MonkeyPatch, ejs: bool, newest: str
) -> None:
    sites_extra("yt-dlp", "2026.1.2")
    there = {"yt-dlp": "2026.1.2", **({"yt-dlp-ejs": "0.8.0"} if ejs else {})}
    monkeypatch.setattr(sites, "version", there.get)
    assert mended(sites.yt_dlp(PATIENT_S))[-2:] == ["--upgrade", newest]


def test_doctor_says_what_yt_dlp_is_for_where_it_is_too_old(sites_extra: Install) -> None:
    sites_extra("yt-dlp", "2025.12.31")
    answer = sites.yt_dlp(PATIENT_S)
    needed = "yt-dlp 2025.12.31 (>=2026 needed); for video sites and pages only"
    assert (answer.state, answer.found) == ("missing", needed)
    assert mended(answer)[-1] == "reelscript[sites]"


def test_doctor_says_why_yt_dlp_does_not_load(
    sites_extra: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites_extra("yt-dlp", "2026.10.26")
    monkeypatch.setattr(sites, "LOOK", "raise ImportError('torn')")
    answer = sites.yt_dlp(PATIENT_S)
    assert answer.state == "missing"
    assert answer.found == "importing yt-dlp ended with exit code 1: ImportError: torn"


@pytest.fixture
def youtube(install: Install, program: Program, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A yt-dlp, all of whose scripts fit, and no runtime but what a test puts on PATH."""
    asks = 'Requires-Dist: yt-dlp-ejs==0.8.0; extra == "{}"'
    install("yt-dlp", "2026.10.26", asks.format("default"), asks.format("pin"))
    nowhere = "import sysconfig; sysconfig.get_path = lambda name: '/nowhere'\n"
    monkeypatch.setattr(sites, "LOOK_FOR_RUNTIMES", nowhere + sites.LOOK_FOR_RUNTIMES)
    return install


@pytest.mark.parametrize(
    ("script", "ejs", "state", "said_so"),
    [
        ("echo 'deno 2.9.8 (stable, release)'; echo v8 14", "0.8.0", "ok", "deno 2.9.8 (PATH)"),
        (
            "echo deno 2.2.9",
            "0.8.0",
            "warning",
            "deno 2.2.9 (PATH; 2.3.0 needed), yt-dlp-ejs 0.8.0",
        ),
        ("echo deno", "0.8.0", "warning", "deno unknown (PATH; 2.3.0 needed)"),
        ("exit 1", "0.8.0", "warning", "no deno that runs, yt-dlp-ejs 0.8.0"),
        (
            "echo deno 2.9.8",
            "0.7.0",
            "warning",
            "deno 2.9.8 (PATH), yt-dlp-ejs 0.7.0 (==0.8.0 needed)",
        ),
        ("exit 1", "0.7.0", "missing", "no deno that runs, yt-dlp-ejs 0.7.0 (==0.8.0 needed)"),
        ("/bin/sleep 1000", "0.8.0", "unknown", "JavaScript runtimes gave no answer within 1.0 s"),
    ],
)
def test_doctor_asks_yt_dlp_for_what_runs_the_javascript_of_youtube(
    youtube: Install, program: Program, script: str, ejs: str, state: str, said_so: str
) -> None:
    deno = program("deno", script)
    youtube("yt-dlp-ejs", ejs)
    answer = sites.javascript(1.0 if "sleep" in script else PATIENT_S)
    assert answer.state == state
    assert said_so.replace("PATH", str(deno)) in answer.found
    if state in ("warning", "missing"):
        assert answer.found.endswith(": YouTube gives few formats or none")
        assert mended(answer)[-1] == "reelscript[youtube]"


def test_doctor_installs_a_deno_anew_that_does_not_run(youtube: Install) -> None:
    youtube("deno", "2.9.8")
    assert mended(sites.javascript(PATIENT_S))[-2:] == ["--force-reinstall", "deno"]


def test_doctor_knows_the_runtimes_that_yt_dlp_takes_by_default() -> None:
    """Only those are worth asking for."""
    import yt_dlp

    with yt_dlp.YoutubeDL({"quiet": True}) as downloader:
        assert tuple(downloader.params["js_runtimes"]) == sites.RUNTIMES


def test_doctor_says_what_youtube_needs_where_there_is_no_yt_dlp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sites, "version", lambda _: None)
    answer = sites.javascript(PATIENT_S)
    assert (answer.state, mended(answer)[-1]) == ("missing", "reelscript[youtube]")


# Engines.


def test_doctor_tells_the_engines_that_could_be_imported(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install("ray", "99.1.0")
    install("apache-beam", "99.2.0")  # without its module
    monkeypatch.setattr(engines, "MODULES", {"ray": "ray", "apache-beam": "no_such_module"})
    (tmp_path / "site" / "ray.py").write_text("raise SystemExit('imported')")
    answer = engines.others()
    assert answer.state == "ok"
    assert answer.found.startswith("ray 99.1.0, apache-beam not there; ")
    monkeypatch.setattr(engines, "MODULES", {"apache-beam": "no_such_module"})
    assert engines.others().state == "absent"


# The machine.


def machine(root: Path, memory_bytes: int) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/\n")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/memory.max").write_text(f"{memory_bytes}\n")
    return root


@pytest.mark.parametrize(("memory_gib", "state"), [(64, "ok"), (1, "warning")])
def test_doctor_says_where_workers_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_gib: int, state: str
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    monkeypatch.setattr(
        "psutil.virtual_memory", lambda: SimpleNamespace(total=1 << 40, available=1 << 40)
    )
    answer = resources.cores_and_memory(machine(tmp_path, memory_gib << 30))
    assert (answer.state, "more than fit" in answer.found) == (state, state != "ok")


def test_doctor_counts_the_cores_that_a_container_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64))
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    root = machine(tmp_path, 64 << 30)
    assert resources.cores_and_memory(root).found.startswith("64 cores, ")
    (root / "sys/fs/cgroup/cpu.max").write_text("250000 100000\n")
    answer = resources.cores_and_memory(root)
    assert answer.found.startswith("3 of 64 cores, ")
    assert answer.found.endswith(": 3 workers")


@pytest.mark.parametrize("below", ["", "/corpus"])
def test_doctor_says_that_a_file_is_no_folder(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    answer = resources.disk(f"{tmp_path}/file{below}")
    assert answer == Answer("missing", f"{tmp_path}/file is a file, not a folder")


@pytest.mark.parametrize(("free_gb", "state"), [(100, "ok"), (5, "warning")])
def test_doctor_says_where_a_disk_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gb: int, state: str
) -> None:
    usage = SimpleNamespace(free=free_gb * 10**9)
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda _: usage)
    answer = resources.disk(str(tmp_path / "not" / "there" / "yet"))
    assert answer.state == state
    assert f"{free_gb}.0 GB free in {tmp_path}" in answer.found


def test_doctor_looks_at_no_disk_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "s3" not in resources.disk("s3://bucket/corpus").found


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_doctor_says_where_nothing_can_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    answer = resources.disk(str(tmp_path))
    tmp_path.chmod(0o700)
    assert (answer.state, "cannot be written" in answer.found) == ("missing", True)


def test_doctor_says_where_temporary_files_have_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(resources.tempfile, "gettempdir", none)
    assert resources.disk(".").state == "missing"
