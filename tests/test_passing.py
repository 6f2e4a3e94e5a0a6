import dataclasses
import errno
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelscript.jobs.config import Config
from reelscript.jobs.mend import sweep_passing
from reelscript.pipeline.engines.groups import groups_of
from reelscript.pipeline.errors import Reject, SourceGone, StorageError
from reelscript.pipeline.faults import FOR_EVER, Fault, faults, faulty_url
from reelscript.pipeline.runs import Run
from reelscript.pipeline.stage import Live, Resources, Stage, apply, threshold
from reelscript.pipeline.store import Store, sha256_of_file
from reelscript.pipeline.testing import Counts, OnGpu, Waits, videos
from reelscript.pipeline.workspace import Workspace
from reelscript.schemas.video import Video
from reelscript.transforms import scratch_audio as module
from reelscript.transforms.acquire import AcquireForNow
from reelscript.transforms.flac import FRAME_SAMPLES, read_flac, write_flac
from reelscript.transforms.leave_sound import LeaveSound, with_sound_left
from reelscript.transforms.media import Undecodable
from reelscript.transforms.scratch_audio import SOUND_OF, leave_audio, scratch_audio
from reelscript.transforms.speech import Speech
from reelscript.transforms.transcribe import Transcribe

RATE_HZ = 16_000
SOUND_S = 3.5


@pytest.fixture(params=["path", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return Store(request.getfixturevalue("s3").url("work"))
    return Store(f"{tmp_path}/work" if request.param == "path" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Decodes nothing: sound follows from the duration. Gives the ids of what was decoded."""
    decoded: list[str] = []

    def decode(path: Path, stream: int, start_s: float, duration_s: float) -> NDArray[np.int16]:
        decoded.append(path.stem)
        return noise(round(duration_s * RATE_HZ))

    monkeypatch.setattr(module, "whole_audio_16k", decode)
    return decoded


def noise(samples: int) -> NDArray[np.int16]:
    return np.random.default_rng(7).integers(-32768, 32768, samples).astype(np.int16)


def probed(duration_s: float = SOUND_S) -> Video:
    facts: dict[str, Any] = {"source_sha256": "a" * 64, "audio_stream": 1, "start_s": 0.0}
    return dataclasses.replace(videos(1)[0], duration_s=duration_s, **facts)


def node(store: Store, tmp_path: Path) -> Workspace:
    """A workspace as on a machine of its own."""
    return Workspace(store, tmp_path / f"node-{uuid.uuid4().hex}", passing=True)


# FLAC: the same samples.

LENGTHS = st.one_of(
    st.integers(0, 40), st.integers(-2, 2).map(lambda n: 3 * FRAME_SAMPLES + n), st.just(20_000)
)


@settings(max_examples=60, deadline=None)
@given(length=LENGTHS, peak=st.sampled_from([0, 1, 300, 32767]), seed=st.integers(0, 1 << 30))
def test_flac_gives_back_the_same_samples(
    tmp_path_factory: pytest.TempPathFactory, length: int, peak: int, seed: int
) -> None:
    sound = np.random.default_rng(seed).integers(-peak - 1, peak + 1, length).astype(np.int16)
    path = tmp_path_factory.mktemp("flac") / "x.flac"
    write_flac(path, sound, RATE_HZ)
    back = np.concatenate([np.zeros(0, np.int16), *read_flac(path)])
    assert back.dtype == np.int16
    assert np.array_equal(back, sound)
    assert path.read_bytes()[:4] == b"fLaC"


def test_flac_of_speech_is_smaller(tmp_path: Path) -> None:
    """A voice is a sum of few waves: here against PCM of two bytes a sample."""
    t = np.arange(10 * RATE_HZ) / RATE_HZ
    voice = (
        3000 * np.sin(2 * np.pi * 150 * t) * np.sin(2 * np.pi * 3 * t) + 50 * noise(len(t)) / 32768
    )
    write_flac(tmp_path / "x.flac", voice.astype(np.int16), RATE_HZ)
    assert (tmp_path / "x.flac").stat().st_size < len(t)


HOURS = """
import dataclasses, os, resource, sys
from pathlib import Path
import numpy as np
from reelscript.pipeline.store import Store
from reelscript.pipeline.testing import videos
from reelscript.pipeline.workspace import Workspace
from reelscript.transforms.media import Undecodable
from reelscript.transforms.scratch_audio import SOUND_OF, leave_audio, scratch_audio

place, samples = Path(sys.argv[1]), 2 * 3600 * 16_000
facts = {"source_sha256": "a" * 64, "audio_stream": 1, "start_s": 0.0}
video = dataclasses.replace(videos(1)[0], duration_s=2 * 3600.0, **facts)
one, other = (Workspace(Store(str(place / "work")), place / n, passing=True) for n in "12")
path = one.scratch_of(video) / "audio-16k.npy"
with path.open("wb") as file:
    header = {"descr": "<i2", "fortran_order": False, "shape": (samples,)}
    np.lib.format.write_array_header_1_0(file, header)
    file.truncate(file.tell() + 2 * samples)
pages = int(Path("/proc/self/statm").read_text().split()[5])
most = pages * os.sysconf("SC_PAGE_SIZE") + (100 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (most, most))
leave_audio(video, one)
assert len(scratch_audio(video, other)) == samples
try:
    np.zeros(samples, np.int16)
except MemoryError:
    print("bounded")
"""


def test_sound_of_hours_is_passed_on_in_bounded_memory(tmp_path: Path) -> None:
    """Two hours are 230 MB as samples, and 100 MB may be taken."""
    command = [sys.executable, "-c", HOURS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("bounded\n", "")


# Sound, from one node to another.


def test_sound_is_decoded_on_one_node_and_heard_on_another(
    store: Store, tmp_path: Path, heard: list[str]
) -> None:
    one, other, video = node(store, tmp_path), node(store, tmp_path), probed()
    leave_audio(video, one)
    found = scratch_audio(video, other)
    assert np.array_equal(found, noise(round(SOUND_S * RATE_HZ)))
    assert found.dtype == np.int16
    assert isinstance(found, np.memmap)
    assert heard == [video.video_id]
    assert [p.name for p in one.scratch_of(video).iterdir()] == ["audio-16k.npy"]
    assert other.stored_bytes == one.stored_bytes == 0


@pytest.mark.parametrize("samples", [0, 1])
def test_sound_without_samples_is_passed_on_too(
    tmp_path: Path, heard: list[str], samples: int
) -> None:
    store, video = Store(str(tmp_path / "work")), probed(samples / RATE_HZ)
    leave_audio(video, node(store, tmp_path))
    assert len(scratch_audio(video, node(store, tmp_path))) == samples
    assert len(heard) == 1


def test_sound_is_left_once(store: Store, tmp_path: Path, heard: list[str]) -> None:
    for _ in range(2):  # a node died, and its videos are begun again elsewhere
        leave_audio(probed(), node(store, tmp_path))
    assert len(list(store.names("passing"))) == 1


def of_half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def of_another(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damage", [of_half, of_another, lambda _: b"", lambda _: b"fLaC" * 99])
def test_sound_that_is_damaged_is_made_again(
    store: Store, tmp_path: Path, heard: list[str], damage: Callable[[bytes], bytes]
) -> None:
    video = probed()
    leave_audio(video, node(store, tmp_path))
    (name,) = store.names("passing")
    store.put(name, damage(store.get(name)))
    found = scratch_audio(video, node(store, tmp_path))
    assert np.array_equal(found, noise(len(found)))
    assert len(heard) == 2
    assert list(store.names("passing")) == []


def test_sound_of_another_source_or_stream_is_not_believed(
    tmp_path: Path, heard: list[str]
) -> None:
    store, video = Store(str(tmp_path / "work")), probed()
    leave_audio(video, node(store, tmp_path))
    for change in ({"source_sha256": "b" * 64}, {"audio_stream": 2}, {"start_s": 0.5}):
        other: Any = dataclasses.replace(video, **change)
        scratch_audio(other, node(store, tmp_path))
    scratch_audio(dataclasses.replace(video, duration_s=2.0), node(store, tmp_path))
    assert len(heard) == 5


def test_sound_of_another_length_under_a_right_name_is_not_believed(
    tmp_path: Path, heard: list[str]
) -> None:
    store, video, flac = Store(str(tmp_path / "work")), probed(), tmp_path / "x.flac"
    for samples in (5, round(SOUND_S * RATE_HZ) + 1):
        write_flac(flac, noise(samples), RATE_HZ)
        one = node(store, tmp_path)
        one.pass_on(video, module._kind(video), flac, sha256_of_file(flac))
        assert len(scratch_audio(video, node(store, tmp_path))) == round(SOUND_S * RATE_HZ)
        one.forget_passing(video)
    assert len(heard) == 2


def test_sound_is_not_asked_of_the_store_where_nothing_passes(
    tmp_path: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "names", lambda *_: pytest.fail("asked"))
    workspace = Workspace(Store(str(tmp_path / "work")), tmp_path / "scratch")
    scratch_audio(probed(), workspace)
    workspace.forget_passing(probed())
    assert heard


def test_sound_that_goes_while_it_is_fetched_is_made_again(
    store: Store, tmp_path: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A video that two workers have in hand ends in one, and the driver removes what passed."""
    video, names = probed(), Store.names
    leave_audio(video, node(store, tmp_path))

    def listed(self: Store, prefix: str) -> Iterator[str]:
        found = list(names(self, prefix))
        node(self, tmp_path).forget_passing(video) if prefix.count("/") > 2 else None
        yield from found

    monkeypatch.setattr(Store, "names", listed)
    scratch_audio(video, node(store, tmp_path))
    assert len(heard) == 2


def test_sound_that_cannot_be_stored_ends_the_build(tmp_path: Path, heard: list[str]) -> None:
    store = Store(faulty_url())
    full = Fault("put", errno=errno.ENOSPC, times=FOR_EVER)
    with faults(full), pytest.raises(StorageError, match="the disk is full"):
        leave_audio(probed(), node(store, tmp_path))


# Which sound is left.


@dataclass(frozen=True)
class Listens(Waits):
    """Hears the sound, on a GPU, and counts its samples."""

    reject: bool = threshold(False)

    name: ClassVar[str] = "listens"
    rejects: ClassVar[tuple[str, ...]] = ("heard",)
    reads: ClassVar[tuple[str, ...]] = SOUND_OF
    writes: ClassVar[tuple[str, ...]] = ("words",)

    @property
    def resources(self) -> Resources:
        """One GPU."""
        return Resources(gpus=1.0)

    @contextmanager
    def open(self) -> Iterator[Live]:
        """Yields the live function."""
        yield lambda v, w: dataclasses.replace(v, words=len(scratch_audio(v, w)))

    def judge(self, _: Video) -> None:
        """Rejects."""
        if self.reject:
            raise Reject("heard")


@dataclass(frozen=True)
class ListensAgain(Listens):
    """Depends on what the other has heard."""

    name: ClassVar[str] = "listens_again"
    reads: ClassVar[tuple[str, ...]] = (*SOUND_OF, "words")
    writes: ClassVar[tuple[str, ...]] = ("windows",)


def run(stage: Stage, video: Video, workspace: Workspace) -> Video:
    with stage.open() as live:
        return apply(stage, live, video, workspace)[0]


def left(store: Store) -> list[str]:
    return list(store.names("passing"))


def test_sound_is_left_only_for_who_will_listen(tmp_path: Path, heard: list[str]) -> None:
    store, video = Store(str(tmp_path / "work")), probed()
    ahead = (Listens(), ListensAgain())
    stage, workspace = LeaveSound(ahead), node(store, tmp_path)
    assert run(stage, video, workspace) == video
    assert len(left(store)) == 1
    for listening in ahead:
        workspace.forget_passing(video)
        run(stage, video, workspace)
        assert len(left(store)) == 1  # the second has not heard it yet
        video = run(listening, video, workspace)
    workspace.forget_passing(video)
    assert run(stage, probed(), workspace) == probed()
    assert left(store) == []
    assert heard == [video.video_id]


def test_sound_is_not_left_of_what_is_known_to_be_rejected(
    tmp_path: Path, heard: list[str]
) -> None:
    store, video = Store(str(tmp_path / "work")), probed()
    workspace = node(store, tmp_path)
    ahead = (Listens(reject=True), ListensAgain())
    assert run(ahead[0], video, workspace).outcome == "rejected"
    run(LeaveSound(ahead), video, workspace)
    assert left(store) == []
    run(LeaveSound((Listens(), ListensAgain())), video, workspace)  # another threshold
    assert len(left(store)) == 1


def test_sound_is_left_again_where_what_was_heard_is_gone(tmp_path: Path, heard: list[str]) -> None:
    """An artefact that a remembered result names may be gone: then it is measured again."""

    class Names(Listens):
        artefacts: ClassVar[tuple[str, ...]] = ("transcript",)

    store, video = Store(str(tmp_path / "work")), probed()
    workspace, stage = node(store, tmp_path), Names()
    facts = {"words": 1, "transcript": workspace.put(b"words")}
    workspace.remember(stage.name, stage.key(video), {"facts": facts})
    run(LeaveSound((stage,)), video, workspace)
    assert left(store) == []
    workspace.forget(str(facts["transcript"]))
    run(LeaveSound((stage,)), video, workspace)
    assert len(left(store)) == 1


def test_sound_that_cannot_be_decoded_fails_where_it_is_listened_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Undecodable("nothing in it decodes")

    monkeypatch.setattr(module, "whole_audio_16k", refuse)
    workspace, stage = node(Store(str(tmp_path / "work")), tmp_path), Listens()
    after = run(LeaveSound((stage,)), probed(), workspace)
    assert after == probed()
    assert run(stage, after, workspace).stage == "listens"


def test_sound_that_cannot_be_left_ends_the_build(tmp_path: Path, heard: list[str]) -> None:
    store = Store(faulty_url())
    full = Fault("put", errno=errno.ENOSPC, times=FOR_EVER)
    with faults(full), pytest.raises(StorageError, match="the disk is full"):
        run(LeaveSound((Listens(),)), probed(), node(store, tmp_path))


def test_sound_is_not_left_where_nothing_passes(tmp_path: Path, heard: list[str]) -> None:
    store = Store(str(tmp_path / "work"))
    run(LeaveSound((Listens(),)), probed(), Workspace(store, tmp_path / "scratch"))
    assert heard == left(store) == []


def test_sound_is_left_before_the_group_that_listens() -> None:
    cpu, gpu, hears = Counts(), OnGpu(), Listens()
    again = ListensAgain()
    for before, after in (
        ([cpu, hears, cpu], [cpu, LeaveSound((hears,)), hears, cpu]),
        (
            [cpu, gpu, hears, again, gpu],
            [cpu, LeaveSound((gpu, hears, again)), gpu, hears, again, gpu],
        ),
        ([cpu, gpu, cpu, hears], [cpu, gpu, cpu, LeaveSound((hears,)), hears]),
        ([hears, cpu], [hears, cpu]),
        ([cpu, gpu, cpu], [cpu, gpu, cpu]),
        ([cpu], [cpu]),
        ([], []),
    ):
        assert with_sound_left(before) == after
        assert len(groups_of(after)) == len(groups_of(before))


def test_sound_is_left_for_the_models_on_a_gpu_of_a_build() -> None:
    on_gpu: Any = {"device": "cuda", "compute_type": "float16"}
    config = Config(speech=Speech(**on_gpu), transcribe=Transcribe(**on_gpu))
    names = [stage.name for stage in with_sound_left(config.measuring())]
    assert names[names.index("leave_sound") - 1] == "glance"
    assert names[names.index("leave_sound") + 1] == "speech"
    on_cpu = Config(speech=Speech(device="cpu"), transcribe=Transcribe(device="cpu")).measuring()
    assert with_sound_left(on_cpu) == on_cpu


def test_sound_that_kills_a_worker_fails_the_stage_that_would_have_listened() -> None:
    """As on an engine without edges, so that rows are the same on every one."""
    assert LeaveSound((OnGpu(), Listens(), ListensAgain())).answers == "listens"
    assert Listens().answers == "listens"


# Sources that are not kept.


def fetched(workspace: Workspace, data: bytes = b"a film") -> Video:
    """A video whose source was fetched for now, on one node."""
    video = probed()
    part = workspace.scratch_of(video) / ".part"
    part.write_bytes(data)
    sha256 = sha256_of_file(part)
    AcquireForNow().keep(sha256, part, video, workspace)
    return dataclasses.replace(video, media=sha256, source_sha256=sha256)


def test_source_that_is_not_kept_is_found_on_another_node(store: Store, tmp_path: Path) -> None:
    one, other = node(store, tmp_path), node(store, tmp_path)
    video = fetched(one)
    assert one.media(video).is_relative_to(one.scratch)
    assert other.media(video).read_bytes() == b"a film"
    assert other.media(video).read_bytes() == b"a film"
    assert one.stored_bytes == 0
    assert list(store.names("objects")) == []
    other.forget_passing(video)
    assert left(store) == []
    with pytest.raises(SourceGone):
        node(store, tmp_path).media(video)


def test_source_that_is_not_kept_stays_in_scratch_where_nothing_passes(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "work"))
    fetched(Workspace(store, tmp_path / "scratch"))
    assert left(store) == []


@pytest.mark.parametrize("damage", [of_half, of_another, lambda _: b""])
def test_source_that_was_damaged_on_its_way_is_fetched_again(
    store: Store, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    video = fetched(node(store, tmp_path))
    (name,) = left(store)
    store.put(name, damage(b"a film"))
    other = node(store, tmp_path)
    with pytest.raises(SourceGone):
        other.media(video)

    def restore(_: Video) -> None:
        fetched(other)

    other.restore = restore
    assert other.media(video).read_bytes() == b"a film"
    assert store.get(name) == b"a film"


def test_what_passed_of_one_video_is_removed_and_of_no_other(store: Store, tmp_path: Path) -> None:
    workspace, (one, other) = node(store, tmp_path), videos(2)
    longer = dataclasses.replace(one, video_id=f"{one.video_id}x")
    (tmp_path / "f").write_bytes(b"1")
    for video in (one, other, longer):
        workspace.pass_on(video, "k", tmp_path / "f", sha256_of_file(tmp_path / "f"))
    workspace.forget_passing(one)
    workspace.forget_passing(one)
    assert {name.split("/")[2] for name in left(store)} == {other.video_id, longer.video_id}


def test_what_dead_runs_left_on_its_way_is_removed(store: Store, tmp_path: Path) -> None:
    store.put("passing/videos/v/media/00", b"1")
    store.put("passing/results/1/x", b"2")
    store.put("objects/00/00", b"3")
    with Run(store, "publish", "build --publish", dict) as beside:
        sweep_passing(store, beside.number + 1)
        assert len(left(store)) == 2  # they may be its
    sweep_passing(store, 7)
    sweep_passing(store, 7)
    assert list(store.names("objects")) == ["objects/00/00"]
    assert left(store) == []
