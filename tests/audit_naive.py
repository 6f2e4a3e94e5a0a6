"""The numbers of an audit, counted row by row in plain Python: slow, and hard to get wrong.

It shares no code with what it checks but the names of scores, and what makes text harmless.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import string
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from reelscript.schemas.clip import SCORE_NAMES
from reelscript.schemas.text import one_line

Row = Mapping[str, Any]
OF_VIDEO = (
    *("duration_s", "static_share", "speech_share", "voice_probability", "language_probability"),
    *("language_agreement", "text_language_probability", "words_per_s", "densest_30s_words"),
    *("unique_word_share", "mean_word_probability"),
)
EARLY = {"acquire", "probe", "glance", "speech", "transcribe", "language"}
MARKS = string.punctuation + "…“”‘’„«»‹›¿¡—–。、，？！"
PASSING = re.compile(
    "timed_out|connection_failed|truncated|changed|site_failed|http_(408|425|429|5..)"
    "|damaged_artefact|blocked"
)
MENDABLE = {
    *("needs_yt_dlp", "not_found", "private_address", "outside_roots", "needs_javascript"),
    *("not_a_file", "unreadable", "out_of_memory"),
}


def naive_statistics(
    videos: Sequence[Row],
    clips: Sequence[Row],
    samples: Sequence[Row],
    reasons: Mapping[str, Sequence[str]],
    thresholds: Mapping[str, Sequence[Row]],
) -> dict[str, Any]:
    """Returns all that stands in stats.json but `format`, `text` and `costs`."""
    limits = list(naive_limits(thresholds))
    endings = naive_endings(reasons, videos, clips)
    by_id = {v["video_id"]: v for v in videos}
    return {
        "counts": counts(videos, clips, samples),
        "checks": checks(videos, clips, samples),
        "hours": hours_of(videos, clips, samples),
        "funnel": list(funnel(endings, videos, clips)),
        "reasons": list(reason_rows(endings, by_id)),
        "languages": by_fact(videos, samples, lambda v: v["language"], lambda s: s["language"]),
        **{
            name: by_fact(videos, samples, fact, lambda s, f=fact: f(by_id[s["video_id"]]))
            | ({"concentration": concentration(videos, samples)} if name == "channels" else {})
            for name, fact in FACTS.items()
        },
        "splits": splits(samples),
        "words": words(clips),
        "thresholds": limits,
        "scores": list(scores(videos, clips, samples, limits)),
        "limits_cost": limits_cost(clips, by_id, limits),
        "health": health(videos, samples, list(reasons)),
        "sources": sources(videos),
    }


def ms(seconds: float | None) -> int:
    if seconds is None or not math.isfinite(seconds):
        return 0
    return int(Decimal(seconds * 1000).quantize(Decimal(1), ROUND_HALF_UP))


def video_ms(rows: Iterable[Row]) -> int:
    return sum(ms(row["duration_s"]) for row in rows)


def span_ms(rows: Iterable[Row]) -> int:
    return sum(ms(row["end_s"]) - ms(row["start_s"]) for row in rows)


def h(milliseconds: int) -> float:
    return round(milliseconds / 3_600_000, 6)


def kept(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["outcome"] == "kept"]


def counts(videos: Sequence[Row], clips: Sequence[Row], samples: Sequence[Row]) -> dict[str, int]:
    of_videos = Counter(v["outcome"] for v in videos)
    of_clips = Counter(c["outcome"] for c in clips)
    return {
        "sources": len(videos),
        **{outcome: of_videos[outcome] for outcome in ("kept", "rejected", "failed")},
        "clips": len(clips),
        "clips_kept": of_clips["kept"],
        "clips_rejected": of_clips["rejected"],
        "samples": len(samples),
    }


def checks(
    videos: Sequence[Row], clips: Sequence[Row], samples: Sequence[Row]
) -> list[dict[str, Any]]:
    sides = {
        "every source is one row": (len(videos), len({v["video_id"] for v in videos})),
        "sources = kept + rejected + failed": (len(videos), len(videos)),
        "clips = kept + rejected": (len(clips), len(clips)),
        "kept clips = clips in samples": (len(kept(clips)), sum(s["clips"] for s in samples)),
        "kept videos = videos with a kept clip": (
            len(kept(videos)),
            len({c["video_id"] for c in kept(clips)}),
        ),
    }
    return [{"law": k, "left": a, "right": b, "holds": a == b} for k, (a, b) in sides.items()]


def hours_of(videos: Sequence[Row], clips: Sequence[Row], samples: Sequence[Row]) -> dict[str, Any]:
    of = {
        outcome: video_ms(v for v in videos if v["outcome"] == outcome)
        for outcome in ("kept", "rejected", "failed")
    }
    in_kept = {v["video_id"] for v in kept(videos)}
    lost = span_ms(c for c in clips if c["outcome"] != "kept" and c["video_id"] in in_kept)
    return {
        "source": h(video_ms(videos)),
        "sources_without_duration": sum(v["duration_s"] is None for v in videos),
        **{outcome: h(length) for outcome, length in of.items()},
        "clips": h(span_ms(clips)),
        "clips_kept": h(span_ms(kept(clips))),
        "samples": h(video_ms(samples)),
        "account": {
            "samples": h(span_ms(samples)),
            "rejected_clips_of_kept_videos": h(lost),
            "outside_clips_of_kept_videos": h(max(0, of["kept"] - span_ms(samples) - lost)),
            "rejected_videos": h(of["rejected"]),
            "failed_videos": h(of["failed"]),
        },
    }


Endings = dict[str, dict[str, tuple[list[Row], list[Row]]]]
"""Stage -> reason -> the videos and the clips that ended there for it."""


def naive_endings(
    reasons: Mapping[str, Sequence[str]], videos: Sequence[Row], clips: Sequence[Row]
) -> Endings:
    found: Endings = {stage: {r: ([], []) for r in own} for stage, own in reasons.items()}
    ended = [v for v in videos if v["outcome"] in ("rejected", "failed")]
    for v in sorted(ended, key=lambda v: (v["outcome"], *named(v))):
        stage, reason = named(v)
        found.setdefault(stage, {}).setdefault(reason, ([], []))[0].append(v)
    rejected = [c for c in clips if c["outcome"] == "rejected"]
    for c in sorted(rejected, key=lambda c: c["reason"] or "unlisted"):
        reason = c["reason"] or "unlisted"
        late = list(found)[list(found).index("segment") :]
        able = [stage for stage in late if reason in found[stage]]
        stage = able[0] if able else "encode" if reason == "video_failed" else "unlisted"
        found.setdefault(stage, {}).setdefault(reason, ([], []))[1].append(c)
    if "unlisted" in found:
        found["unlisted"] = found.pop("unlisted")
    return found


def named(video: Row) -> tuple[str, str]:
    return video["stage"] or "unlisted", video["reason"] or "unlisted"


def funnel(
    endings: Endings, videos: Sequence[Row], clips: Sequence[Row]
) -> Iterable[dict[str, Any]]:
    left_videos, left_clips = list(videos), list(clips)
    late = False
    for stage, by_reason in endings.items():
        late = late or stage == "segment"
        gone_videos = [v for gone, _ in by_reason.values() for v in gone]
        gone_clips = [c for _, gone in by_reason.values() for c in gone]
        row = {"stage": stage, "videos": level(left_videos, gone_videos, video_ms), "clips": None}
        left_videos = [v for v in left_videos if all(v is not g for g in gone_videos)]
        if late:
            row["clips"] = level(left_clips, gone_clips, span_ms)
            left_clips = [c for c in left_clips if all(c is not g for g in gone_clips)]
        yield row


def level(
    entered: Sequence[Row], gone: Sequence[Row], length: Callable[[Iterable[Row]], int]
) -> dict[str, Any]:
    by = {
        outcome: Counter(g["reason"] or "unlisted" for g in gone if g["outcome"] == outcome)
        for outcome in ("rejected", "failed")
    }
    return {
        "entered": len(entered),
        "rejected": by["rejected"].total(),
        "rejected_by": dict(by["rejected"]),
        "failed": by["failed"].total(),
        "failed_by": dict(by["failed"]),
        "left": len(entered) - len(gone),
        "hours_entered": h(length(entered)),
        "hours_left": h(length(entered) - length(gone)),
    }


def reason_rows(endings: Endings, by_id: Mapping[str, Row]) -> Iterable[dict[str, Any]]:
    for stage, by_reason in endings.items():
        for reason, (videos, clips) in by_reason.items():
            yield {
                "stage": stage,
                "reason": one_line(reason),
                "videos_rejected": sum(v["outcome"] == "rejected" for v in videos),
                "videos_failed": sum(v["outcome"] == "failed" for v in videos),
                "video_hours": h(video_ms(videos)),
                "clips": len(clips),
                "clip_hours": h(span_ms(clips)),
                "examples": [
                    *(of_clip(c, by_id[c["video_id"]]) for c in by_hash(clips)),
                    *(of_video(v) for v in by_hash(videos)),
                ][:3],
            }


def by_hash(rows: Sequence[Row]) -> list[Row]:
    def hashed(row: Row) -> str:
        index = f"/{row['clip_index']}" if "clip_index" in row else ""
        return hashlib.md5(f"{row['video_id']}{index}".encode()).hexdigest()

    return sorted(rows, key=hashed)[:3]


def of_clip(clip: Row, video: Row) -> dict[str, Any]:
    return {
        "kind": "clip",
        **{name: clip[name] for name in ("video_id", "clip_index", "start_s", "end_s")},
        "text": one_line(clip["text"]),
        **{name: line(video[name]) for name in ("title", "url")},
        "link": ANY,
        "scores": {name: finite(clip[name]) for name in SCORE_NAMES},
    }


def of_video(video: Row) -> dict[str, Any]:
    return {
        "kind": "video",
        "video_id": video["video_id"],
        **{name: line(video[name]) for name in ("title", "url", "detail")},
        "link": ANY,
        "duration_s": finite(video["duration_s"]),
        "scores": {name: finite(video[name]) for name in OF_VIDEO},
    }


class _Any:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


ANY: Any = _Any()


def line(text: str | None) -> str | None:
    return None if text is None else one_line(text)


def finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def host(url: str) -> str | None:
    found = re.match("https?://([^/?#]*)", url, re.IGNORECASE)
    if found is None:
        return None
    return found[1].rpartition("@")[2].partition(":")[0].lower() or None


def year(site_facts: str | None) -> str | None:
    try:
        date = json.loads(site_facts or "")["upload_date"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(date)[:4] if re.fullmatch("[0-9]{8}", str(date)) else None


def resolution(video: Row) -> str | None:
    sides = (video["width_px"], video["height_px"])
    return None if None in sides else f"{min(sides)}p"


FACTS: dict[str, Callable[[Row], str | None]] = {
    "licenses": lambda v: v["license"],
    "transcripts": lambda v: v["transcript_source"],
    "hosts": lambda v: host(v["url"]),
    "channels": lambda v: v["channel"],
    "upload_years": lambda v: year(v["site_facts"]),
    "resolutions": resolution,
    "containers": lambda v: v["container"],
    "video_codecs": lambda v: v["video_codec"],
    "audio_codecs": lambda v: v["audio_codec"],
}


def by_fact(
    videos: Sequence[Row],
    samples: Sequence[Row],
    of_video: Callable[[Row], str | None],
    of_sample: Callable[[Row], str | None],
) -> dict[str, Any]:
    found: dict[str | None, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for v in videos:
        found[of_video(v)][0].append(v)
    for s in samples:
        found[of_sample(s)][1].append(s)

    def order(name: str | None) -> tuple[int, int, bool, str]:
        return -video_ms(found[name][1]), -len(found[name][0]), name is not None, name or ""

    def told(names: Sequence[str | None]) -> dict[str, Any]:
        own_videos = [v for name in names for v in found[name][0]]
        own_samples = [s for name in names for s in found[name][1]]
        return {
            "videos": len(own_videos),
            "kept": len(kept(own_videos)),
            "hours": h(video_ms(own_videos)),
            "samples": len(own_samples),
            "sample_hours": h(video_ms(own_samples)),
        }

    names = sorted(found, key=order)
    return {
        "rows": [{"name": line(name), **told([name])} for name in names[:50]],
        "rest": {"names": len(names[50:]), **told(names[50:])},
    }


def concentration(videos: Sequence[Row], samples: Sequence[Row]) -> dict[str, Any]:
    channel_of = {v["video_id"]: v["channel"] for v in videos}
    lengths = dict.fromkeys((c for c in channel_of.values() if c is not None), 0)
    for s in samples:
        if channel_of[s["video_id"]] is not None:
            lengths[channel_of[s["video_id"]]] += ms(s["duration_s"])
    top = -(-len(lengths) // 100)
    all_ms = video_ms(samples)
    share = sum(sorted(lengths.values(), reverse=True)[:top]) / all_ms if all_ms and top else None
    return {
        "channels": len(lengths),
        "top_channels": top,
        "share_of_sample_hours": share,
        "videos_without": sum(v["channel"] is None for v in videos),
    }


def splits(samples: Sequence[Row]) -> dict[str, Any]:
    found = {}
    for split in sorted({s["split"] for s in samples}):
        own = [s for s in samples if s["split"] == split]
        shards = {s["shard"] for s in own}
        found[split] = {"samples": len(own), "hours": h(video_ms(own)), "shards": len(shards)}
    return found


def words(clips: Sequence[Row]) -> dict[str, int]:
    said = {w.strip(MARKS).lower() for c in kept(clips) for w in c["text"].split()} - {""}
    return {
        "all": sum(c["words"] or 0 for c in clips),
        "kept": sum(c["words"] or 0 for c in kept(clips)),
        "vocabulary_kept": len(said),
    }


def naive_limits(thresholds: Mapping[str, Sequence[Row]]) -> Iterable[dict[str, Any]]:
    for name, own in thresholds.items():
        of, _, bare = name.rpartition(".")
        for limit in own:
            early = limit["setting"].split(".")[0] in EARLY
            whose = of or ("video" if early or bare not in SCORE_NAMES else "clip")
            yield {"of": whose, "score": bare, **limit}


def scores(
    videos: Sequence[Row],
    clips: Sequence[Row],
    samples: Sequence[Row],
    limits: Sequence[Row],
) -> Iterable[dict[str, Any]]:
    clips = [{**c, "duration_s": (ms(c["end_s"]) - ms(c["start_s"])) / 1000} for c in clips]
    samples = [{**s, "outcome": "kept"} for s in samples]
    wanted = [
        *(("clip", name, clips) for name in (*SCORE_NAMES, "duration_s")),
        *(("passage", name, samples) for name in ("duration_s", "clips")),
        *(("video", name, videos) for name in OF_VIDEO),
    ]
    for of, name, rows in wanted:
        own = [limit for limit in limits if (limit["of"], limit["score"]) == (of, name)]
        whole = name in ("words", "longest_word_chars", "clips", "densest_30s_words")
        values = [r[name] for r in rows if finite(r[name]) is not None]
        edges = naive_edges(values, [limit["value"] for limit in own], whole)
        yield {
            "of": of,
            "name": name,
            "thresholds": own,
            "whole": whole,
            "edges": edges,
            "kept": side([r[name] for r in rows if r["outcome"] == "kept"], edges),
            "rejected": side([r[name] for r in rows if r["outcome"] != "kept"], edges),
        }


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def naive_edges(values: Sequence[float], limits: Sequence[float], whole: bool) -> list[float]:
    """Returns round edges, found by trying one step after the other."""
    if not values:
        return []
    low, high = quantile(values, 0.005), quantile(values, 0.995)
    reach = max(2 * (high - low), abs(low), abs(high)) or 2
    for at in limits:
        if low - reach <= at <= high + reach:
            low, high = min(low, at), max(high, at)
    least = max(
        (high - low) / 38 or max(abs(high) / 10, 0.1),
        max(abs(low), abs(high)) * 1e-6,
        1.0 if whole else 1e-9,
    )
    steps = (Decimal(m).scaleb(e) for e in range(-12, 12) for m in (1, 2, 5))
    exact = next(step for step in steps if float(step) >= least * (1 - 1e-9))
    step = float(exact)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if whole:
        last = math.floor(high / step + 1e-9) + 1
    if first >= last:
        first, last = (last - 1, last) if high > 0 else (first, first + 1)
    return [float(i * exact) for i in range(first, last + 1)]


def side(raw: Sequence[float | None], edges: Sequence[float]) -> dict[str, Any]:
    values = [v for v in raw if v is not None and math.isfinite(v)]
    bins = [0] * max(0, len(edges) - 1)
    for v in values:
        for i in range(len(bins)):
            last = i == len(bins) - 1
            if edges[i] <= v < edges[i + 1] or (last and v == edges[-1]):
                bins[i] += 1
    marks = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
    return {
        "n": len(values),
        "unmeasured": len(raw) - len(values),
        **{name: quantile(values, share) if values else None for name, share in marks.items()},
        "counts": bins,
        "below": sum(v < edges[0] for v in values),
        "above": sum(v > edges[-1] for v in values),
    }


def limits_cost(
    clips: Sequence[Row], by_id: Mapping[str, Row], limits: Sequence[Row]
) -> list[dict[str, Any]]:
    def breaks(limit: Row, clip: Row) -> bool:
        row = clip if limit["of"] == "clip" else by_id[clip["video_id"]]
        value = row[limit["score"]]
        if value is None:
            return False
        return value < limit["value"] if limit["side"] == "min" else value > limit["value"]

    own = [limit for limit in limits if limit["setting"].startswith("quality.")]
    only: dict[str, list[Row]] = {limit["setting"]: [] for limit in own}
    for clip in clips:
        broken = [limit["setting"] for limit in own if breaks(limit, clip)]
        whole = clip["within_bounds"] and clip["reason"] != "duplicate_content"
        if len(broken) == 1 and whole:
            only[broken[0]].append(clip)
    found = [
        {
            "setting": limit["setting"],
            "value": limit["value"],
            "clips_only": len(only[limit["setting"]]),
            "hours_only": h(span_ms(only[limit["setting"]])),
        }
        for limit in own
    ]
    return sorted(found, key=lambda f: (-f["hours_only"], -f["clips_only"], f["setting"]))


def health(videos: Sequence[Row], samples: Sequence[Row], stages: Sequence[str]) -> dict[str, Any]:
    failed = Counter(named(v)[::-1] for v in videos if v["outcome"] == "failed")
    spent: dict[str, list[tuple[float, Row]]] = defaultdict(list)
    for v in videos:
        for stage, seconds in timings(v["timings"]).items():
            spent[stage].append((seconds, v))
    order = [*(s for s in stages if s in spent), *sorted(set(spent) - set(stages))]
    return {
        "failures": [
            {"class": failure_class(reason), "reason": reason, "stage": stage, "videos": n}
            for (reason, stage), n in sorted(failed.items(), key=lambda f: (-f[1], f[0]))
        ],
        "windows": {
            "all": sum(v["windows"] or 0 for v in videos),
            "redecoded": sum(v["redecoded_windows"] or 0 for v in videos),
            "doubtful": sum(v["doubtful_windows"] or 0 for v in videos),
        },
        "words": {
            "all": sum(v["words"] or 0 for v in videos),
            "interpolated": sum(v["interpolated_words"] or 0 for v in videos),
        },
        "stages": [of_stage(stage, spent[stage], video_ms(samples)) for stage in order],
    }


def of_stage(stage: str, spent: Sequence[tuple[float, Row]], kept_ms: int) -> dict[str, Any]:
    cpu_s = sum(seconds for seconds, _ in spent)
    audio_s = video_ms(v for _, v in spent) / 1000
    return {
        "stage": stage,
        "videos": len(spent),
        "remembered": None,
        "cpu_s": cpu_s,
        "audio_s": audio_s,
        "rtfx": audio_s / cpu_s if cpu_s else None,
        "cpu_s_per_hour_kept": cpu_s / (kept_ms / 3_600_000) if kept_ms else None,
    }


def timings(text: str | None) -> dict[str, float]:
    try:
        found = json.loads(text or "")
    except ValueError:
        return {}
    items = found.items() if isinstance(found, dict) else ()
    return {k: v for k, v in items if isinstance(v, int | float) and v >= 0}


def failure_class(reason: str) -> str:
    if reason == "pending":
        return "pending"
    if reason in MENDABLE:
        return "mendable"
    return "passing" if PASSING.fullmatch(reason) else "lasting"


def sources(videos: Sequence[Row]) -> dict[str, Any]:
    names = ("video_id", "url", "title", "license", "outcome", "stage", "reason", "detail")
    listed = [
        {**{n: line(v[n]) for n in names}}
        | {"duration_s": finite(v["duration_s"])}
        | {n: v[n] for n in ("clips_kept", "clips_rejected")}
        for v in sorted(videos, key=lambda v: v["video_id"])[:500]
    ]
    return {"rows": listed, "more": max(0, len(videos) - 500)}
