"""Stages of reelscript in a Beam pipeline of your own: what is in each of these videos?

    python examples/beam_pipeline.py examples/videos/*.mp4 --work looked --runner=FnApiRunner

Rows are paths or URLs of videos, from wherever your pipeline has them; what comes out is a record
for each, whatever became of it. Options that are not ours go to Beam. Results are remembered in the
work folder, which every worker must reach: run it again, and nothing is decoded a second time.
Needs Beam (`pip install "reelscript[beam]"`).
"""

# mypy: disallow-untyped-calls=False
from __future__ import annotations

import argparse
import hashlib
import logging
from pathlib import Path

from reelscript.schemas.video import Video
from reelscript.transforms.acquire import Acquire
from reelscript.transforms.glance import Glance
from reelscript.transforms.probe import Probe
from reelscript.transforms.urls import canonical_url, published_url, scheme_of


def source(address: str) -> Video:
    """Returns the record of a video, with an id that is its own."""
    name = hashlib.sha256(canonical_url(address).encode()).hexdigest()[:16]
    if scheme_of(address) is None:
        path = Path(address).absolute()
        return Video(video_id=f"x_{name}", url=path.name, location=str(path))
    return Video(video_id=f"x_{name}", url=published_url(address), location=address)


def described(video: Video) -> str:
    """Returns a line about a video."""
    if not video.pending:
        return f"{video.url}: {video.outcome} by {video.stage}, {video.reason}"
    picture = f"{video.width_px} x {video.height_px} at {video.fps} fps"
    return f"{video.url}: {video.duration_s} s, {picture}, {video.keyframes} keyframes"


def main() -> None:
    """Runs the pipeline."""
    # Imported here: the processes that run the stages import this file too, and need no Beam.
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from reelscript.pipeline.engines.beam.transform import ApplyStages

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="+", help="paths or URLs")
    parser.add_argument("--work", required=True, help="work folder, a path or URL")
    asked, others = parser.parse_known_args()

    stages = [Acquire(), Probe(), Glance()]
    with beam.Pipeline(options=PipelineOptions(others)) as pipeline:
        _ = (
            pipeline
            | beam.Create(asked.videos)
            | beam.Map(source).with_output_types(Video)
            | beam.Reshuffle()
            | ApplyStages(stages, asked.work, workers=2)
            | beam.Map(described)
            | "Print" >> beam.Map(print)
        )


if __name__ == "__main__":
    logging.getLogger().setLevel(logging.ERROR)
    main()
