import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from reelscript.jobs import config as config_module
from reelscript.jobs.config import SECTIONS, Config, config_from, load_config, resolved
from reelscript.jobs.room import Work
from reelscript.pipeline.errors import UsageError
from reelscript.transforms import whisper

ENGLISH_ONLY, MULTILINGUAL = 51_864, 51_865  # tokens in the vocabularies of Whisper


def refused(*overrides: str) -> str:
    """What is said of a command line, which must be one sentence."""
    with pytest.raises(UsageError) as caught:
        load_config(None, ["videos"], overrides)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) <= 500
    return said


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "build.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused_file(folder: Path, text: str | bytes) -> str:
    path = written(folder, text)
    with pytest.raises(UsageError) as caught:
        load_config(path)
    said = str(caught.value)
    assert "\n" not in said
    assert str(path) in said
    return said


# Names.


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("quallity: {}", "did you mean 'quality'?"),
        ("Sources: []", "did you mean 'sources'?"),
        ("zzz: 1", "valid are: acquire, dedup"),
        ("1: 2", "there is no section 1"),
        ("quality: {max_word_per_s: 6}", "quality.max_word_per_s; did you mean 'max_words_per_s'?"),
        ("dedup: {zzz: 6}", "dedup.zzz; valid are: same_bytes"),
        ("encode: {1: 6}", "there is no setting encode.1"),
        ("probe: {name: x}", "there is no setting probe.name"),
        ("align: {}", "there is no section 'align'"),
        ("preset: fast", "presets are not part of this version"),
    ],
)
def test_config_names_what_is_nearest_to_an_unknown_key(
    tmp_path: Path, text: str, near: str
) -> None:
    assert near in refused_file(tmp_path, text)


# Values.


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("quality.max_words_per_s=fast", "quality.max_words_per_s: .*number.*'fast'"),
        ("glance.max_static_share=1.5", "glance.max_static_share: .*less than or equal to 1.*1.5"),
        ("encode.crf=-1", "encode.crf: .*greater than or equal to 0.*-1"),
        ("encode.crf=[1]", "encode.crf: .*number"),
        ("encode.preset=quick", "encode.preset: .*'veryfast'.*'quick'"),
        ("encode.short_side_px=255", "encode.short_side_px: .*multiple of 2"),
        ("encode.short_side_px=256.5", "encode.short_side_px: .*integer"),
        ("acquire.max_bytes=much", "acquire.max_bytes: expected bytes such as 512MB, found 'much'"),
        ("acquire.max_bytes=0", "acquire.max_bytes: .*greater than 0"),
        ("language.accept=5", "language.accept: .*a list.*5"),
        ("language.accept=en", "language.accept: .*a list.*'en'"),
        ("dedup.same_bytes=maybe", "dedup.same_bytes: .*boolean.*'maybe'"),
        ("passage.min_clips=40", "passage.*min_clips .40. is larger than"),
        ("segment.min_s=20", "segment.*min_s"),
        ("quality=5", "quality: expected settings as 'key: value', found 5"),
        ("quality=[]", "quality: expected settings"),
        ("name=5", "name: expected text, found 5"),
        ("name=2026-01-01", "name: expected text, found"),
        ("work=[a]", "work: expected settings"),
        ("work.keep=nothing", "work.keep: .*'source', 'proxy' or 'none'"),
        ("work.max_bytes=lots", "work.max_bytes: expected bytes such as 512MB"),
        ("work.max_bytes=0", "work.max_bytes: "),
        ("acquire.timeout_s=.inf", "acquire.timeout_s: .*finite"),
        ("quality.min_words=.nan", "quality.min_words: .*finite"),
        ("transcribe.min_avg_logprob=-.inf", "transcribe.min_avg_logprob: .*finite"),
    ],
)
def test_config_says_which_value_is_wrong_and_what_was_expected(override: str, said: str) -> None:
    import re

    assert re.search(said, refused(override))


@pytest.mark.parametrize("bad", [".nan", ".inf", "-.inf"])
def test_config_lets_no_number_in_that_json_cannot_hold(bad: str) -> None:
    for section, kind in SECTIONS.items():
        for field in dataclasses.fields(kind):
            with pytest.raises(UsageError, match=f"{section}.{field.name}"):
                load_config(None, ["v"], [f"{section}.{field.name}={bad}"])


@pytest.mark.parametrize("bad", ["5", "{a: b}", "[{a: b}]", "[5]", "true", "2026-01-01"])
def test_config_takes_sources_as_texts_only(tmp_path: Path, bad: str) -> None:
    assert "sources: expected" in refused_file(tmp_path, f"sources: {bad}")


def test_config_takes_one_source_or_many(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "sources: videos/")).sources == ("videos/",)
    assert load_config(written(tmp_path, "sources: [a, b]")).sources == ("a", "b")
    assert load_config(written(tmp_path, "sources: [a, b]"), ["c"]).sources == ("c",)
    assert load_config(written(tmp_path, "sources:")).sources == ()


def test_config_reads_sizes() -> None:
    def size(text: str) -> int:
        return load_config(None, ["v"], [f"shard.target_bytes={text}"]).shard.target_bytes

    sizes = {"512MB": 512_000_000, "1.5 GiB": 3 << 29, "2000": 2000, "7kb": 7000}
    assert {text: size(text) for text in sizes} == sizes


# The command line.


def test_config_overrides_in_order() -> None:
    found = load_config(
        None,
        ["v"],
        ["quality.min_words=5", "quality.min_words=null", "name=a=b", "language.accept=[en, de]"],
    )
    assert found.quality == dataclasses.replace(Config().quality, min_words=None)
    assert (found.name, found.language.accept) == ("a=b", ("en", "de"))


def test_config_overrides_a_file_setting_by_setting(tmp_path: Path) -> None:
    path = written(tmp_path, "quality: {min_words: 7, max_words_per_s: 6}\nprobe:\nsources: v")
    found = load_config(path, [], ["quality.min_words=8", "probe.min_s=2"])
    assert (found.quality.min_words, found.quality.max_words_per_s) == (8, 6)
    assert found.probe.min_s == 2


@pytest.mark.parametrize(
    "text", ["", "=", "quality", "quality.min_words", ".=1", "a.b.c=1", "quality.=1", ".x=1", "=5"]
)
def test_config_asks_for_overrides_as_key_and_value(text: str) -> None:
    assert "expected section.key=value, such as quality.max_words_per_s=6" in refused(text)


@pytest.mark.parametrize(
    "value", ["[", "{", "a: b: c", "!!python/object:os.system x", "2026-13-45", "\0", "9" * 5000]
)
def test_config_refuses_values_that_are_no_yaml(value: str) -> None:
    assert "--set name=" in refused(f"name={value}")


def test_config_names_the_nearest_section_of_an_override() -> None:
    assert "did you mean 'quality'?" in refused("qality.min_words=1")
    assert "there is no section 'name'" in refused("name.x=1")


def test_config_refuses_an_override_in_what_is_no_section(tmp_path: Path) -> None:
    path = written(tmp_path, "quality: 5")
    with pytest.raises(UsageError, match="quality: expected settings as 'key: value', found 5"):
        load_config(path, [], ["quality.min_words=1"])


# Files.


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch owned']",
        "name: !!python/object/apply:os.system ['touch owned']",
        "name: !!python/name:os.system",
        "name: !!python/object/new:os.system [touch owned]",
        "name: !local x",
        "a: b: c",
        "{",
        "[" * 5000,
        "? [a]\n: b",
        "name: 2026-13-45",
        "\0",
        b"\xff\xfe\xfa",
        "",
        "- a\n- b",
        "just text",
        "--- a\n--- b",
    ],
)
def test_config_refuses_files_that_are_no_config(
    tmp_path: Path, text: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "config" in refused_file(tmp_path, text)
    assert not (tmp_path / "owned").exists()


def test_config_that_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no config file .*none.yaml"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="is not a YAML config"):
        load_config(tmp_path)


# Round trip.


def changed() -> Config:
    """A config in which everything is other than by default."""
    default = Config()
    return Config(
        sources=("a", "é\u2028語", "-", "null", "5", "!!x"),
        name='"quoted": #no comment',
        work=Work(folder="s3://bucket/work", keep="none", max_bytes=10**13),
        acquire=dataclasses.replace(default.acquire, max_bytes=1, contact="me@example.org"),
        speech=dataclasses.replace(default.speech, language="en", accept=("en", "no")),
        language=dataclasses.replace(default.language, accept=("no", "de")),
        quality=dataclasses.replace(default.quality, min_words=None, max_static_share=0.1 + 0.2),
        dedup=dataclasses.replace(default.dedup, same_bytes=False),
        encode=dataclasses.replace(default.encode, preset="medium", crf=18.5),
        shard=dataclasses.replace(default.shard, target_bytes=10**12, val_fraction=1e-9),
    )


@pytest.mark.parametrize("config", [Config(), changed()], ids=["default", "changed"])
def test_config_written_out_is_the_same_config(tmp_path: Path, config: Config) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(path) == config
    assert load_config(path).to_yaml() == config.to_yaml()


def test_config_written_out_holds_every_setting() -> None:
    plain: dict[str, Any] = yaml.safe_load(Config().to_yaml())
    assert set(plain) == {"sources", "name", "work", *SECTIONS}
    for name, kind in SECTIONS.items():
        assert set(plain[name]) == {f.name for f in dataclasses.fields(kind)}


def test_config_work_folder_lies_beside_the_config_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for written, folder in [
        ("work: kept", str(tmp_path / "kept")),
        ("work: {folder: kept, keep: none}", str(tmp_path / "kept")),
        ("work: /kept", "/kept"),
        ("work: s3://bucket/kept", "s3://bucket/kept"),
        ("work: {max_bytes: 2GB}", None),
    ]:
        path.write_text(f"sources: [a]\n{written}\n", encoding="utf-8")
        assert load_config(path).work.folder == folder
    assert load_config(path).work.max_bytes == 2 * 10**9
    assert load_config(path, overrides=["work=here"]).work == Work(folder="here")
    assert load_config(path, overrides=["work.keep=proxy"]).work.max_bytes == 2 * 10**9


# Models.


def model(folder: Path, tokens: int) -> str:
    """A folder that looks like a Whisper model."""
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "vocabulary.txt").write_text("\n".join(f"t{n}" for n in range(tokens)))
    return str(folder)


@pytest.fixture
def english(tmp_path: Path) -> str:
    return model(tmp_path / "english", ENGLISH_ONLY)


@pytest.fixture
def multilingual(tmp_path: Path) -> str:
    return model(tmp_path / "many", MULTILINGUAL)


@pytest.fixture(autouse=True)
def cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "best_device", lambda: "cpu")


def asked(**settings: str) -> Config:
    return load_config(None, ["v"], [f"{k.replace('__', '.')}={v}" for k, v in settings.items()])


def test_config_resolves_everything_that_follows_something_else(multilingual: str) -> None:
    found = resolved(asked(transcribe__model=multilingual, language__accept="[de]"))
    assert (found.transcribe.device, found.transcribe.compute_type) == ("cpu", "int8")
    assert (found.speech.device, found.speech.compute_type) == ("cpu", "int8")
    assert found.speech.language_model == multilingual
    assert found.speech.accept == found.transcribe.accept == ("de",)
    assert found.acquire.subtitle_languages == ("de",)
    sections = {k: v for k, v in found.to_dict().items() if k != "acquire"}  # told by the source
    assert "auto" not in str(sections)
    assert resolved(found) == found


def test_config_takes_a_larger_model_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "best_device", lambda: "cuda")
    monkeypatch.setattr(config_module, "_check_models", lambda *_: None)
    found = resolved(asked())
    assert (found.transcribe.model, found.transcribe.compute_type) == ("large-v3-turbo", "float16")
    assert found.speech.device == "cuda"


def test_config_refuses_an_english_only_model_that_would_judge_languages(english: str) -> None:
    with pytest.raises(UsageError, match=r"knows only English.*speech.language_model.*language=en"):
        resolved(asked(transcribe__model=english))
    with pytest.raises(UsageError, match="knows only English and writes fluent English"):
        resolved(asked(transcribe__model=english, speech__language_model=english))


def test_config_lets_an_english_only_model_transcribe_what_is_known_to_be_english(
    english: str, multilingual: str
) -> None:
    stated = resolved(asked(transcribe__model=english, speech__language="en"))
    assert stated.speech.language_model is None  # nobody is asked
    assert resolved(asked(transcribe__model=english), all_stated=True).speech.language_model is None
    heard = resolved(asked(transcribe__model=english, speech__language_model=multilingual))
    assert heard.speech.language_model == multilingual


def test_config_refuses_languages_that_the_model_does_not_know(
    english: str, multilingual: str
) -> None:
    with pytest.raises(UsageError, match=r"speech.language is 'de', but .* knows only English"):
        resolved(asked(transcribe__model=english, speech__language="de"))
    others = {"speech__language_model": multilingual, "language__accept": "[en, de]"}
    with pytest.raises(UsageError, match=r"language.accept names de, but .* only English"):
        resolved(asked(transcribe__model=english, **others))


def test_config_names_the_nearest_of_an_unknown_model(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    with pytest.raises(UsageError, match=r"no Whisper model 'smal'.* did you mean 'small'?"):
        resolved(asked(transcribe__model="smal"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no model.bin"):
        resolved(asked(transcribe__model=str(tmp_path / "empty")))


def test_config_from_plain_data_says_where_it_comes_from() -> None:
    with pytest.raises(UsageError, match=r"^here: there is no section 'x'"):
        config_from({"x": 1}, "here")
