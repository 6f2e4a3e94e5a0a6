"""What is kept of what a site says."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reelscript.transforms.site_facts import MOST_BYTES, site_facts
from reelscript.transforms.sites.info import MAX_BYTES, provenance

SAID = {
    "id": "dQw4w9WgXcQ",
    "extractor": "youtube",
    "title": "A ball\x1b[31m rolls\n\u202edown",
    "channel": "Balls",
    "channel_id": "UC123",
    "upload_date": "20240229",
    "license": "Creative Commons Attribution license (reuse allowed)",
    "categories": ["Education"],
    "tags": ["ball", "roll"],
    "description": "x" * 10_000,
    "duration": 12.5,
    "view_count": 7,
    "age_limit": 0,
    "webpage_url": "https://me:secret@site.example/watch?v=1&Signature=secret",
    "http_headers": {"Cookie": "secret"},
    "cookies": "secret",
    "url": "https://cdn.example/video?sig=secret",
    "thumbnail": "https://cdn.example/picture?sig=secret",
    "formats": [{"url": "https://cdn.example/video?sig=secret"}],
}
FORMATS = [
    {"format_id": "135", "vcodec": "avc1", "height": 480, "url": "secret", "cookies": "secret"},
    {"format_id": "140", "acodec": "mp4a.40.2", "http_headers": {"Cookie": "secret"}},
]


def test_sites_info_keeps_provenance_and_no_secrets() -> None:
    kept = provenance(SAID, FORMATS, 12.4)
    assert "secret" not in json.dumps(kept)
    assert kept["webpage_url"] == "https://site.example/watch?v=1"
    assert kept["title"] == "A ball [31m rolls down"
    assert kept["license"] == SAID["license"]
    assert kept["duration"] == 12.5
    assert kept["played_s"] == 12.4
    assert kept["formats"][0]["height"] == 480
    facts = site_facts(kept)
    assert (facts.title, facts.channel) == ("A ball [31m rolls down", "UC123")
    assert facts.license == SAID["license"]
    assert json.loads(facts.others or "") == {
        "extractor": "youtube",
        "id": "dQw4w9WgXcQ",
        "upload_date": "20240229",
        "categories": ["Education"],
        "tags": ["ball", "roll"],
    }


def test_sites_info_of_any_page_has_no_id_made_of_its_address() -> None:
    said = {"id": "x?token=secret-1", "extractor": "html5", "title": "A page (1)"}
    assert provenance(said, [], None) == {"extractor": "html5", "title": "A page"}


def test_sites_info_of_nothing_is_nothing() -> None:
    facts = site_facts(provenance({}, [], None))
    assert (facts.title, facts.channel, facts.license, facts.others) == (None, None, None, None)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)


@given(
    said=st.dictionaries(
        st.sampled_from([*SAID, "uploader", "language", "live_status"]), values, max_size=8
    ),
    formats=st.lists(st.dictionaries(st.sampled_from(["format_id", "height", "ext"]), values)),
)
def test_sites_info_is_printable_json_whatever_a_site_says(
    said: dict[str, Any], formats: list[dict[str, Any]]
) -> None:
    kept = provenance(said, formats[:2], None)
    text = json.dumps(kept, allow_nan=False)
    assert json.loads(text) == kept
    for value in kept.values():
        assert not isinstance(value, str) or value.isprintable()
    site_facts(kept)


def test_sites_info_is_bounded() -> None:
    long = "\U0001f3c0" * 100_000
    said = SAID | {"title": long, "description": long, "tags": [long] * 1000, "license": long}
    kept = provenance(said, FORMATS, None)
    assert len(json.dumps(kept, ensure_ascii=False).encode()) <= MAX_BYTES
    assert len((site_facts(kept).others or "").encode()) <= MOST_BYTES
