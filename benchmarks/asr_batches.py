"""How many windows a second are decoded first: each short video alone, or several at once?

    python benchmarks/asr_batches.py [FOLDER OF ENGLISH VIDEOS] [MODEL] [DEVICE] [ROUNDS]

Cuts the sound of the videos into pieces of 10 s, which stand for short videos of one window each,
and decodes them with `batch_videos` of 1 and of 16, in turns. Prints medians by wall time and by
CPU time, their ratio, and in how many pieces words, times and numbers were the same. On a CPU
about as fast is what to expect; a GPU (DEVICE cuda) is what it is for, and none was here to try.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from reelscript.schemas.transcript import Voice
from reelscript.transforms import whisper
from reelscript.transforms.decode_together import decode_together
from reelscript.transforms.recogniser import Decoded, Recogniser
from reelscript.transforms.transcribe import Transcribe
from reelscript.transforms.voice_activity import speech_windows, voice_probabilities, voice_spans

ROOT = Path(__file__).parents[1]
PIECE_S = 10.0
NOT_ENGLISH = ("broken.mp4", "silent.mp4", "harbour_es.mp4")  # of the examples
Answers = dict[str, list[Decoded]]


def pieces(folder: Path, stage: Transcribe) -> dict[str, Recogniser]:
    """Returns a recogniser for each piece in which somebody speaks."""
    from faster_whisper import decode_audio

    model = whisper.resident(stage.model, stage.device, stage.compute_type, stage.cpu_threads)
    length = int(PIECE_S * whisper.SAMPLE_RATE_HZ)
    found = {}
    for path in sorted(p for p in folder.glob("*.mp4") if p.name not in NOT_ENGLISH):
        sound = (decode_audio(str(path)) * 32767).astype("int16")
        for start in range(0, len(sound), length):
            audio = sound[start : start + length]
            seconds = len(audio) / whisper.SAMPLE_RATE_HZ
            probabilities = voice_probabilities(audio)
            spans = voice_spans(probabilities, seconds)
            voice = Voice(spans, speech_windows(spans, probabilities, seconds), [])
            if voice.windows:
                found[f"{path.name} {start}"] = Recogniser(stage, model, audio, voice, "en")
    return found


def alone(recognisers: dict[str, Recogniser]) -> Answers:
    """Returns what is decoded of each by itself."""
    return {name: list(recogniser.first_pass()) for name, recogniser in recognisers.items()}


def together(recognisers: dict[str, Recogniser]) -> Answers:
    """Returns what is decoded of 16 at once."""
    names = list(recognisers)
    found: Answers = {}
    for start in range(0, len(names), 16):
        some = {name: recognisers[name] for name in names[start : start + 16]}
        ahead = {name: ahead.decoded for name, ahead in decode_together(some).items()}
        left = {name: some[name] for name in some if name not in ahead}
        found |= {name: decoded for name, decoded in ahead.items() if decoded} | alone(left)
    return found


def timed(
    way: Callable[[dict[str, Recogniser]], Answers], recognisers: dict[str, Recogniser]
) -> tuple[Answers, float, float]:
    """Returns the answers, and the wall time and CPU time that they took in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = way(recognisers)
    return found, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Prints the comparison."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "videos"
    model = sys.argv[2] if len(sys.argv) > 2 else "tiny.en"
    device = sys.argv[3] if len(sys.argv) > 3 else "cpu"
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    numbers = "float16" if device.startswith("cuda") else "int8"
    stage = Transcribe(model=model, device=device, compute_type=numbers)
    recognisers = pieces(folder, stage)
    if not recognisers:
        sys.exit(f"nobody speaks in the videos of {folder}: expected .mp4 files with speech")
    windows = sum(len(r.voice.windows) for r in recognisers.values())
    ways = {"alone": alone, "together": together}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    answers: dict[str, Answers] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            answers[name], wall_s, cpu_s = timed(way, recognisers)
            spent[name].append((wall_s, cpu_s))
    print(f"{len(recognisers)} pieces, {windows} windows; {model}, {device}, {numbers}")
    for kind, what in enumerate(("wall", "CPU")):
        rate = {n: windows / statistics.median(s[kind] for s in spent[n]) for n in ways}
        said = ", ".join(f"{name} {per_s:.2f}" for name, per_s in rate.items())
        print(f"windows a {what} second: {said}, ratio {rate['together'] / rate['alone']:.3f}")
    same = sum(answers["alone"][name] == answers["together"][name] for name in recognisers)
    print(f"the same in {same} of {len(recognisers)} pieces")


if __name__ == "__main__":
    main()
