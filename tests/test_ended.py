import json

from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.engines.ended import Ended
from reelscript.pipeline.stage import Timing
from reelscript.pipeline.testing import videos
from reelscript.schemas.video import Video
from tests.engines_made import Heard

TEXT = st.text(max_size=20)
SECONDS = st.floats(0, 1e6)
TIMINGS = st.builds(
    Timing,
    video_id=st.just("v000"),
    stage=TEXT,
    wall_s=SECONDS,
    cpu_s=SECONDS,
    remembered=st.booleans(),
    outcome=st.sampled_from(["pending", "kept", "rejected", "failed"]),
    trace=st.none() | TEXT,
    stored_bytes=st.integers(-(10**12), 10**12),
    duration_s=st.none() | SECONDS,
)
ENDED = st.builds(
    Ended,
    video=st.builds(Video, video_id=st.just("v000"), url=TEXT, location=TEXT, detail=TEXT),
    timings=st.lists(TIMINGS, max_size=4).map(tuple),
    suspected=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
)


@given(ENDED)
def test_ended_comes_back_from_json(ended: Ended) -> None:
    text = ended.to_json()
    assert Ended.from_json(text) == ended
    assert "\n" not in text
    assert text.encode()


@given(ENDED, ENDED)
def test_ended_after_another_group_tells_of_both(earlier: Ended, later: Ended) -> None:
    both, one, other = Heard(), Heard(), Heard()
    later.after(earlier).tell(both)
    earlier.tell(one)
    later.tell(other)
    assert both.timings == one.timings + other.timings
    assert both.deaths == one.deaths + other.deaths
    assert later.after(earlier).video == later.video


def test_ended_is_small() -> None:
    """Twelve stages cost less than half of what a row may weigh, beside the record itself."""
    (video,) = videos(1)
    long = Timing("v000", "transcribe", 1 / 3, 2 / 3, False, "pending", None, 10**9, 1e4 / 3)
    told = len(Ended(video, (long,) * 12).to_json()) - len(Ended(video).to_json())
    assert told < 2000
    assert json.loads(Ended(video).to_json())["told"] == [[], []]
