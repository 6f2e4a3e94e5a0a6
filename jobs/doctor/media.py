"""The FFmpeg libraries inside PyAV: they decode sources and encode passages."""

from __future__ import annotations

from reelscript.jobs.doctor.asking import said_by_python
from reelscript.jobs.doctor.finding import Answer
from reelscript.jobs.doctor.packages import pip_install, required

ENCODERS = ("libx264", "aac")  # what passages are made with
DECODERS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "aac", "opus", "vorbis", "mp3")
LOOK = """
import json, sys, av
def lacking(names, mode):
    for name in names.split():
        try:
            av.codec.Codec(name, mode)
        except ValueError:
            yield name
print(json.dumps({
    "version": av.__version__,
    "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
    "encoders": [*lacking(sys.argv[1], "w")],
    "decoders": [*lacking(sys.argv[2], "r")],
}))
"""


def ffmpeg(within_s: float) -> Answer:
    """Returns whether PyAV loads, and encodes and decodes what is asked of it."""
    told = said_by_python(LOOK, within_s, " ".join(ENCODERS), " ".join(DECODERS))
    again = pip_install("--force-reinstall", *(str(r) for r in required() if r.name == "av"))
    facts = told.facts()
    if facts is None:
        return told.broken("importing PyAV", again)
    found = f"PyAV {facts['version']}, libavcodec {facts['libavcodec']}"
    if facts["encoders"]:
        return Answer("missing", f"{found} cannot encode {', '.join(facts['encoders'])}", again)
    if facts["decoders"]:
        return Answer("warning", f"{found} cannot decode {', '.join(facts['decoders'])}", again)
    return Answer("ok", f"{found}, with {' and '.join(ENCODERS)}")
