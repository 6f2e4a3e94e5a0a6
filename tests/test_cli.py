import subprocess
import sys
from pathlib import Path

import pytest

import reelscript
from reelscript.jobs import cli

HEAVY = ("torch", "faster_whisper", "ctranslate2", "pyarrow", "av", "httpx", "pydantic", "numpy")
VERBS = (
    *("build", "demo", "status", "verify", "show", "doctor"),
    *("audit", "sweep", "features", "pretrain", "evaluate"),
)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    code: object = 0
    try:
        cli.main(list(arguments))
    except SystemExit as ended:
        code = ended.code or 0
    out, err = capsys.readouterr()
    assert isinstance(code, int)
    return code, out, err


def sentence(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The one line that is said of a command line that ends with this code."""
    found, out, err = told(capsys, *arguments)
    assert found == code
    (line,) = err.splitlines()
    assert line.startswith("reelscript: ")
    assert "Traceback" not in out + err
    return line


def test_cli_help_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "--help")
    assert code == 0
    listed = {line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line}
    assert listed == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_cli_help_of_each_verb_shows_an_example(
    capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    code, out, _ = told(capsys, verb, "--help")
    assert code == 0
    assert f"Example: reelscript {verb}" in out


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["build", "--help"], ["status"]])
def test_cli_answers_without_loading_anything_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom reelscript.jobs.cli import main\n"
        f"try:\n    main({arguments})\nexcept SystemExit:\n    pass\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_cli_without_a_verb_shows_help_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = told(capsys)
    assert code == 2
    assert "Usage: reelscript" in out + err


def test_cli_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "--version")
    assert (code, reelscript.__version__ in out) == (0, True)


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("bild", "did you mean 'build'?"),
        ("verfy", "did you mean 'verify'?"),
        ("pretrian", "did you mean 'pretrain'?"),
        (
            "qqq",
            "there are audit, build, demo, doctor, evaluate, features, pretrain, show, status, "
            "sweep, verify",
        ),
        ("\x1b[2J\nrm", "there is no verb '[2J rm'"),
    ],
)
def test_cli_names_what_is_nearest_to_an_unknown_verb(
    capsys: pytest.CaptureFixture[str], verb: str, said: str
) -> None:
    assert said in sentence(capsys, 2, verb, "x")


@pytest.mark.parametrize("verb", cli.LATER)
def test_cli_says_of_a_later_verb_that_it_is_not_there_yet(
    capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert "is not part of this version" in sentence(capsys, 2, verb, "corpus")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["videos"], "'-o' / '--out'"),
        (["-o", "{out}"], "build what?"),
        (["{none}", "-o", "{out}"], "there is no "),
        (["{none}.yaml", "-o", "{out}"], "there is no config file"),
        (["{none}", "-o", "{out}", "--set", "quality.max_words=1"], "quality.max_words; did you"),
        (["{none}", "-o", "{out}", "--set", "quality"], "expected section.key=value"),
        (["{none}", "-o", "{out}", "--set", "encode.crf=x"], "encode.crf: "),
        (["{none}", "-o", "{out}", "--engine", "rai"], "did you mean 'ray'"),
        (["{none}", "-o", "{out}", "--dry-run"], "there is no "),
        (["{none}", "-o", "{out}", "--publish"], "there is no "),
        (["{none}", "-o", "{out}", "--workers", "0"], "--workers"),
        (["{none}", "-o", "{out}", "--limit", "x"], "--limit"),
        (["{none}", "-o", "{out}", "--max-failed", "2"], "--max-failed"),
        (["{none}", "-o", "{out}", "--outt", "2"], "--out"),
        (["\x1b[2J\n\u202e", "-o", "{out}"], "holds no sources"),
        (["\x1b]2J\n\u202e", "-o", "{out}"], "there is no "),
    ],
)
def test_cli_build_that_is_asked_wrongly_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    places = {"{out}": str(tmp_path / "corpus"), "{none}": str(tmp_path / "none")}
    given = arguments
    for mark, place in places.items():
        given = [a.replace(mark, place) for a in given]
    line = sentence(capsys, 2, "build", *given)
    assert said in line
    assert line.isprintable()
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_cli_says_of_a_missing_corpus_that_it_is_not_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    none = str(tmp_path / "none")
    code, out, err = told(capsys, "verify", none)
    assert code == 1
    assert len((out + err).splitlines()) <= 2  # the fault, and how many there are
    assert "Traceback" not in out + err
    assert "none" in sentence(capsys, 1, "show", none, "key")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["show"], ["verify"], ["show", "d"], ["show", "d", "k", "--video", "v"]]
)
def test_cli_verbs_ask_for_what_is_missing(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    sentence(capsys, 2, *arguments)


def test_cli_shows_a_traceback_only_to_those_who_ask(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reelscript.jobs.cli"]
    asked = ["show", str(tmp_path / "none"), "key"]
    plain = subprocess.run([*command, *asked], capture_output=True, text=True, timeout=60)
    debug = subprocess.run(
        [*command, "--debug", *asked], capture_output=True, text=True, timeout=60
    )
    assert (plain.returncode, "Traceback" in plain.stderr) == (1, False)
    assert "Traceback" in debug.stderr
    assert debug.returncode != 0


def test_cli_interrupted_says_that_work_is_saved(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reelscript.jobs.verify.corpus.verify", interrupted)
    code, _, err = told(capsys, "verify", "corpus")
    assert code == 130
    assert "the same command goes on" in err
    assert len(err.split("\n")) <= 3  # a line break after ^C, then one line


def test_cli_interrupted_while_a_class_is_made_is_interrupted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupts:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    def makes_a_class(*_: object, **__: object) -> None:
        type("Made", (), {"field": Interrupts()})

    monkeypatch.setattr("reelscript.jobs.verify.corpus.verify", makes_a_class)
    assert told(capsys, "verify", "corpus")[0] == 130


@pytest.mark.parametrize(
    ("error", "code"),
    [(OSError(28, "No space left on device", "/x"), 1), (PermissionError(13, "denied", "/x"), 1)],
)
def test_cli_says_in_one_line_what_the_system_refuses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: OSError, code: int
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("reelscript.jobs.verify.corpus.verify", broken)
    line = sentence(capsys, code, "verify", "corpus")
    assert str(error.strerror) in line
    assert "/x" in line


def test_cli_says_nothing_where_nobody_reads_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("reelscript.jobs.verify.corpus.verify", closed)
    assert "Broken pipe" in sentence(capsys, 1, "verify", "corpus")  # that of another: it is told
    monkeypatch.setattr(cli, "_nobody_reads", lambda: True)
    assert told(capsys, "verify", "corpus") == (1, "", "")


def test_cli_ends_without_a_traceback_in_a_pipe_that_is_closed() -> None:
    done = subprocess.run(
        f"{sys.executable} -m reelscript.jobs.cli --help | true; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
