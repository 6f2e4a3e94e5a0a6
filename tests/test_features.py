"""Embeddings of videos: what they are, what fails, and that the same comes again."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from reelscript.jobs import cli
from reelscript.jobs.features import embedder
from reelscript.jobs.features.network import Network
from reelscript.pipeline.engines.limits import Limits
from reelscript.pipeline.errors import DataError, UsageError
from reelscript.pipeline.stage import Stage
from reelscript.pipeline.testing import KillsItsWorker
from reelscript.transforms.sample_frames import SampleFrames
from tests.media_made import make_media
from tests.poison import MARK, Decoder

torch = pytest.importorskip("torch")

from reelscript.jobs.features.features import features  # noqa: E402
from reelscript.jobs.features.summary import summary  # noqa: E402
from reelscript.jobs.features.table import About, FeaturesTable  # noqa: E402
from reelscript.models.tvts import configs  # noqa: E402
from reelscript.models.tvts.model import TVTS  # noqa: E402
from reelscript.models.tvts.translate import to_layout  # noqa: E402
from reelscript.models.tvts.weights import open_model, save, save_official  # noqa: E402

EXAMPLES = Path(__file__).parents[1] / "examples" / "videos"
SHARED = Path(__file__).parents[2] / "shared" / "media"
HERE = ("127.0.0.0/8",)


def checkpoint_of(config: configs.TVTSConfig, path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    model = TVTS(config)
    with torch.no_grad():  # so that frames and their order matter
        for name, parameter in model.named_parameters():
            if "time" in name:
                parameter.normal_(0, 0.05)
    if path.suffix == ".pth":
        save_official(model, path)
    else:
        save(model, path)
    return path


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint of ours."""
    config = configs.debug()
    video = dataclasses.replace(config.video, image_px=32, patch_px=16, blocks=2)
    tiny = dataclasses.replace(config, name="tiny", video=video)
    return checkpoint_of(tiny, tmp_path_factory.mktemp("ours") / "tiny.safetensors")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the layout of the released ones."""
    return checkpoint_of(configs.debug(), tmp_path_factory.mktemp("released") / "TVTSv2.pth")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, good and bad."""
    place = tmp_path_factory.mktemp("videos")
    make_media(place / "a.mp4", duration_s=4, keyframe_every=10)
    make_media(place / "b.mkv", times_s=[0, 0.1, 0.9, 1, 1.01, 1.5, 2, 2.2, 3, 3.1, 4, 5, 6, 7])
    make_media(place / "c_one.mp4", times_s=[0.0], audio=False)
    make_media(place / "d_sound.mp4", video=False)
    whole = make_media(place / "e_cut.mp4", duration_s=4, muxer={"movflags": "+faststart"})
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    (place / "f_text.mp4").write_text("no video")
    (place / "g_\x1b[2J\u202e.mp4").write_bytes(b"")
    (place / "h_again.mp4").symlink_to(place / "a.mp4")
    return place


@pytest.fixture(scope="module")
def made(ours: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FeaturesTable:
    """The features of the folder, also written next to each other."""
    out = tmp_path_factory.mktemp("made") / "a.parquet"
    return features(ours, folder, out=out, batch=3, workers=2)


def by_hand(
    checkpoint: Path, path: Path, mean: tuple[float, ...], std: tuple[float, ...], way: str
) -> NDArray[np.float32]:
    """The embedding of a video: all frames decoded, the middle ones prepared in plain steps."""
    model = open_model(checkpoint)
    px, count = model.config.video.image_px, model.config.video.frames
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    edges = [k * len(frames) // count for k in range(count + 1)]
    clip = []
    for begin, end in pairwise(edges):
        frame = frames[(begin + end - 1) // 2]
        height, width = frame.shape[:2]
        short = int(px * 1.2) if way == "official" else px
        rows = short if height <= width else int(short * height / width)
        columns = int(short * width / height) if height <= width else short
        if way == "official":
            # Middles by summing, as Pillow: it decides where one falls between two pixels.
            down = np.cumsum([height / rows] * rows) - height / rows / 2
            across = np.cumsum([width / columns] * columns) - width / columns / 2
            resized = frame[down.astype(int)][:, across.astype(int)].astype(float)
        else:
            wide = torch.from_numpy(frame).permute(2, 0, 1)[None].double()
            resized = torch.nn.functional.interpolate(
                wide, (rows, columns), mode="bicubic", antialias=True
            )[0].permute(1, 2, 0)
            resized = resized.round().clip(0, 255).numpy()
        top, left = round((rows - px) / 2), round((columns - px) / 2)
        crop = resized[top : top + px, left : left + px]
        clip.append(((crop / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1))
    with torch.no_grad():
        frames_ = torch.from_numpy(np.stack(clip)[None]).float()
        return np.asarray(model.video(frames_).embedding[0].numpy())


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def row(made: FeaturesTable, url: str) -> dict[str, Any]:
    (found,) = [r for r in made.table.to_pylist() if r["url"] == url]
    return dict(found)


def test_features_has_a_row_for_every_source_in_order(made: FeaturesTable, folder: Path) -> None:
    rows = made.table.to_pylist()
    assert len(rows) == len(list(folder.iterdir())) == 8
    assert [r["url"][0] for r in rows] == list("abcdefgh")
    assert [(r["outcome"], r["reason"]) for r in rows] == [
        ("kept", None),
        ("kept", None),
        ("kept", None),
        ("failed", "no_video"),
        ("kept", None),
        ("failed", "undecodable"),
        ("failed", "undecodable"),
        ("kept", None),
    ]
    assert [r["frames_used"] for r in rows] == [12, 12, 1, None, 12, None, None, 12]
    assert all((r["embedding"] is None) == (r["outcome"] == "failed") for r in rows)
    assert made.failed_share == 3 / 8


def test_features_of_a_source_listed_again_are_those_of_its_first(made: FeaturesTable) -> None:
    first, again = row(made, "a.mp4"), row(made, "h_again.mp4")
    assert again["video_id"] == f"{first['video_id']}_dup1"
    assert again["embedding"] == first["embedding"]


def test_features_are_those_of_plain_steps(made: FeaturesTable, ours: Path, folder: Path) -> None:
    for name in ("a.mp4", "b.mkv"):
        wanted = by_hand(ours, folder / name, *CLIP, "clean")
        found = np.array(row(made, name)["embedding"])
        assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()  # levels may round apart


@pytest.mark.parametrize("name", ["garden.mp4", "harbour_es.mp4"])
def test_features_of_a_released_checkpoint_are_official(released: Path, name: str) -> None:
    found = features(released, EXAMPLES / name, workers=1)
    wanted = by_hand(released, EXAMPLES / name, *IMAGENET, "official")
    np.testing.assert_allclose(found.embeddings[0], wanted, rtol=1e-4, atol=1e-5)
    assert found.about.preprocess == "official"
    other = features(released, EXAMPLES / name, preprocess="clean", workers=1)
    assert other.about.preprocess == "clean"
    assert np.abs(other.embeddings - found.embeddings).max() > 1e-3


def test_features_of_released_weights_saved_as_ours_stay_official(
    released: Path, tmp_path: Path
) -> None:
    save(open_model(released), tmp_path / "ours.safetensors")
    videos = EXAMPLES / "garden.mp4"
    wanted, found = (
        features(checkpoint, videos, workers=1)
        for checkpoint in (released, tmp_path / "ours.safetensors")
    )
    assert found.about.preprocess == "official"
    np.testing.assert_array_equal(found.embeddings, wanted.embeddings)


def test_features_of_clip_are_clean(tmp_path: Path, folder: Path) -> None:
    """And those of a network that has begun with the same weights."""
    model = TVTS(configs.debug())
    towers = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if "time" not in name and not name.startswith("sorter.")
    }
    theirs = to_layout(towers, "clip")
    torch.save(theirs, tmp_path / "clip.pt")
    found = features(tmp_path / "clip.pt", folder / "a.mp4", workers=1)
    assert (found.about.preprocess, found.about.frames, found.failed_share) == ("clean", 12, 0)
    save(model, tmp_path / "ours.safetensors")
    same = features(tmp_path / "ours.safetensors", folder / "a.mp4", workers=1)
    np.testing.assert_allclose(found.embeddings, same.embeddings, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared media beside the project")
def test_features_of_real_videos_are_those_of_plain_steps(released: Path) -> None:
    names = ["action/yoga.mp4", "action/shuttle_10s.webm", "robust/av1_15s.mp4"]
    found = features(released, *(SHARED / name for name in names), workers=2)
    for name, embedding in zip(names, found.embeddings, strict=True):
        wanted = by_hand(released, SHARED / name, *IMAGENET, "official")
        np.testing.assert_allclose(embedding, wanted, rtol=1e-3, atol=1e-4)


def test_features_parquet_and_npz_hold_the_same(
    made: FeaturesTable, tmp_path: Path, ours: Path
) -> None:
    made.write(tmp_path / "a.parquet")
    made.write(tmp_path / "a.npz")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.to_pylist() == made.table.to_pylist()
    kind = table.schema.field("embedding").type
    assert kind == pa.list_(pa.float32())
    assert {len(e) for e in table["embedding"].to_pylist() if e is not None} == {192}
    told = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    assert (told["model"], told["preprocess"], told["normalised"]) == ("tiny", "clean", "false")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as held:
        kept = [r for r in made.table.to_pylist() if r["outcome"] == "kept"]
        assert held["url"].tolist() == [r["url"] for r in kept]
        np.testing.assert_array_equal(held["embedding"], [r["embedding"] for r in kept])
        assert held["embedding"].dtype == np.float32
        assert held["failed_reason"].tolist() == ["no_video", "undecodable", "undecodable"]
        assert held["checkpoint_sha256"] == told["checkpoint_sha256"]
        assert not held["normalised"]


def test_features_normalised_have_length_one(ours: Path, folder: Path) -> None:
    found = features(ours, folder / "a.mp4", normalise=True, workers=1)
    plain = features(ours, folder / "a.mp4", workers=1)
    assert np.linalg.norm(found.embeddings) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(plain.embeddings) != pytest.approx(1, abs=1e-3)
    ratio = plain.embeddings / found.embeddings
    np.testing.assert_allclose(ratio, np.linalg.norm(plain.embeddings), rtol=1e-4)


def test_features_where_everything_fails_are_rows_without_embeddings(
    ours: Path, folder: Path, tmp_path: Path
) -> None:
    found = features(ours, folder / "f_text.mp4", out=tmp_path / "a.npz", workers=1)
    assert (found.embeddings.shape, found.failed_share) == ((0, 192), 1.0)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as held:
        assert held["embedding"].shape == (0, 192)
        assert held["failed_url"].tolist() == ["f_text.mp4"]


def test_features_of_fewer_frames_are_others(ours: Path, folder: Path) -> None:
    found = features(ours, folder / "a.mp4", folder / "c_one.mp4", frames=6, workers=1)
    assert found.about.frames == 6
    assert found.table["frames_used"].to_pylist() == [6, 1]


def test_features_of_a_url_are_those_of_its_file(
    made: FeaturesTable, ours: Path, folder: Path, tmp_path: Path
) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        out = tmp_path / "a.npz"
        asked = f"{at}/a.mp4", f"{at}/none.mp4"
        found = features(ours, *asked, out=out, workers=1, allow_addresses=HERE)
        server.shutdown()
    assert found.table["reason"].to_pylist() == [None, "http_404"]
    wanted = row(made, "a.mp4")["embedding"]
    np.testing.assert_allclose(found.embeddings[0], wanted, rtol=1e-4, atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


# Interruption, deaths, other numbers of workers.


def test_features_interrupted_go_on_and_give_the_same_bytes(
    ours: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker here, two there; one run straight, the other stopped at its second batch."""
    straight, broken = tmp_path / "straight" / "a.npz", tmp_path / "broken" / "a.npz"
    features(ours, folder, out=straight, batch=2, workers=1)
    embeddings, calls = Network.embeddings, []

    def interrupted(self: Network, clips: Any) -> Any:
        calls.append(len(clips))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return embeddings(self, clips)

    monkeypatch.setattr(Network, "embeddings", interrupted)
    with pytest.raises(KeyboardInterrupt):
        features(ours, folder, out=broken, batch=2, workers=2)
    assert [p.name for p in broken.parent.iterdir()] == ["a.npz.work"]
    before = len(calls)
    features(ours, folder, out=broken, batch=2, workers=2)
    assert before == 2
    assert len(calls) == 4  # three batches have something to embed; the first was remembered
    assert [p.name for p in broken.parent.iterdir()] == ["a.npz"]
    assert straight.read_bytes() == broken.read_bytes()


def test_features_survive_a_decoder_that_crashes(
    ours: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("a.mp4", "v0"), ("b.mkv", "v1_poison"), ("c_one.mp4", "v2")]
    lines = ["path,id", *(f"{folder / name},{video_id}" for name, video_id in rows)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    stages_of = embedder.stages_of

    def poisoned(sampling: SampleFrames, *_: object) -> list[Stage]:
        return [KillsItsWorker(), *stages_of(sampling)]

    monkeypatch.setattr(embedder, "stages_of", poisoned)
    found = features(ours, tmp_path / "list.csv", batch=2, workers=2)
    assert found.table["outcome"].to_pylist() == ["kept", "failed", "kept"]
    assert found.table["reason"].to_pylist() == [None, "crashed", None]


def test_features_survive_a_decoder_that_never_ends(
    ours: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, spins = folder / "a.mp4", tmp_path / "spins.mp4"
    spins.write_bytes(MARK + b"spin\n")
    stages_of = embedder.stages_of

    def poisoned(sampling: SampleFrames, *_: object) -> list[Stage]:
        acquire, *others = stages_of(sampling)
        return [acquire, Decoder(), *others]

    monkeypatch.setattr(embedder, "stages_of", poisoned)
    limits = Limits(cpu_base_s=1.5, wall_base_s=60, poll_s=0.1)
    found = features(ours, spins, good, workers=1, limits=limits)
    assert found.table["reason"].to_pylist() == ["cpu_limit", None]


def test_features_go_on_with_nothing_that_was_made_another_way(
    ours: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, out = tmp_path / "model.safetensors", tmp_path / "a.npz"
    checkpoint.write_bytes(ours.read_bytes())
    embeddings, calls = Network.embeddings, 0

    def second_stops(self: Network, clips: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return embeddings(self, clips)

    def batches(**other: Any) -> int:
        """How many of the two batches are begun; the second of them stops it."""
        nonlocal calls
        calls = 0
        videos = folder / "a.mp4", folder / "b.mkv"
        with contextlib.suppress(KeyboardInterrupt):
            features(checkpoint, *videos, out=out, batch=1, workers=1, **other)
        return calls

    monkeypatch.setattr(Network, "embeddings", second_stops)
    assert batches() == 2
    assert batches(frames=6) == 2
    assert batches(preprocess="official") == 2
    assert batches(normalise=True) == 2
    model = open_model(checkpoint)
    with torch.no_grad():
        model.video.projection.weight.mul_(2)
    save(model, checkpoint)
    assert batches() == 2
    checkpoint.write_bytes(ours.read_bytes())
    with monkeypatch.context() as patched:
        patched.setattr(torch, "__version__", "3.0.0")
        assert batches() == 2
    assert batches() == 1  # the first is remembered
    assert out.exists()


def test_features_that_do_not_fit_into_memory_ask_for_a_smaller_batch(
    ours: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        torch.empty(1 << 60)

    monkeypatch.setattr(np, "stack", full)
    network = Network(open_model(ours), "", "cpu", "float32")
    said = r"a batch of 1 does not fit into memory.*--batch"
    with pytest.raises(UsageError, match=said):
        network.embeddings([np.zeros(1)])

    def gpu_full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(np, "stack", gpu_full)
    with pytest.raises(UsageError, match=said):
        network.embeddings([np.zeros(1)])

    def broken(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(np, "stack", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        network.embeddings([np.zeros(1)])


# The command line.


def told(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code: object = 0
    try:
        cli.main(["features", *map(str, arguments)])
    except SystemExit as ended:
        code = ended.code or 0
    assert isinstance(code, int)
    return code, *capsys.readouterr()


def test_features_command_writes_the_file_and_says_how(
    capsys: pytest.CaptureFixture[str], ours: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.parquet"
    code, said, _ = told(capsys, ours, folder, "-o", out, "--workers", "2", "--max-failed", "0.4")
    assert code == 0
    assert (
        "5 of 8 videos embedded: 192 numbers each, not normalised; tiny, 12 frames, clean" in said
    )
    about = About("tiny", "", "clean", 1, "float32", False, "")
    assert "; tiny, 1 frame, clean" in summary(FeaturesTable(pq.read_table(out), about), out)
    assert "failed: undecodable 2, no_video 1" in said
    assert said.replace("\n", "").isprintable()
    assert pq.read_table(out).num_rows == 8
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def test_features_command_shows_a_hostile_checkpoint_on_one_line(
    capsys: pytest.CaptureFixture[str], ours: Path, folder: Path, tmp_path: Path
) -> None:
    model = open_model(ours)
    model.config = dataclasses.replace(model.config, name="a\x1b[2J\nb\u202e")
    save(model, tmp_path / "a.safetensors")
    videos, out = folder / "c_one.mp4", tmp_path / "a.npz"
    code, said, _ = told(capsys, tmp_path / "a.safetensors", videos, "-o", out, "--workers", "1")
    assert code == 0
    assert said.removesuffix("\n").isprintable()


def test_features_command_exits_3_where_too_many_fail(
    capsys: pytest.CaptureFixture[str], ours: Path, folder: Path, tmp_path: Path
) -> None:
    videos, out = (folder / "a.mp4", folder / "f_text.mp4"), tmp_path / "a.npz"
    assert told(capsys, ours, *videos, "-o", out, "--quiet", "--workers", "1")[0] == 3
    assert (tmp_path / "a.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{none}", "{videos}", "-o", "{out}"], 2, "there is no checkpoint"),
        (["{text}", "{videos}", "-o", "{out}"], 1, "is no file of weights"),
        (["{videos}", "{videos}", "-o", "{out}"], 2, "is a folder: name the file of weights in it"),
        (["{ours}", "{videos}", "-o", "s3://{none}/a.npz"], 2, "is an address"),
        (["{ours}", "{none}.parquet", "-o", "{none}.parquet"], 2, "also named as a source"),
        (["{ours}", "{none}", "-o", "{out}"], 2, "holds no sources"),
        (["{ours}", "{videos}"], 2, "-o"),
        (["{ours}", "-o", "{out}"], 2, "VIDEO..."),
        (["{ours}", "{videos}", "-o", "{out}.np"], 2, "has to end in .npz or .parquet"),
        (["{ours}", "{videos}", "-o", "{out}", "--model", "b23"], 2, "did you mean 'b32'?"),
        (["{ours}", "{videos}", "-o", "{out}", "--frames", "13"], 2, "tiny takes 1 to 12"),
        (["{ours}", "{videos}", "-o", "{out}", "--device", "cud"], 2, "valid are auto, cpu, cuda"),
        (
            ["{ours}", "{videos}", "-o", "{out}", "--precision", "fp16"],
            2,
            "--precision fp16: valid are float32, bfloat16",
        ),
        (["{ours}", "{videos}", "-o", "{out}", "--precision", "bfloat16"], 2, "is for a GPU"),
        (["{ours}", "{videos}", "-o", "{out}", "--model", "debug"], 1, "cannot be used"),
    ],
)
def test_features_command_asked_wrongly_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ours: Path,
    folder: Path,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    places = {
        "{none}": tmp_path / "none\x1b[2J",
        "{text}": folder / "f_text.mp4",
        "{ours}": ours,
        "{videos}": folder,
        "{out}": tmp_path / "a.npz",
    }
    given = arguments
    for mark, place in places.items():
        given = [argument.replace(mark, str(place)) for argument in given]
    found, out, err = told(capsys, *given)
    (line,) = err.splitlines()
    assert (found, out) == (code, "")
    assert said in line
    assert line.isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["torch", "PIL"])
def test_features_without_a_package_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, ours: Path, folder: Path, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"needs {package}.*pip install 'reelscript\[train\]'"):
        features(ours, folder)


def test_features_of_a_damaged_checkpoint_are_refused(
    ours: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.safetensors").write_bytes(ours.read_bytes()[:100_000])
    with pytest.raises(DataError, match="damaged"):
        features(tmp_path / "cut.safetensors", folder)
