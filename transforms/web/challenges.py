"""Answers by which a site says that it takes us for a robot that it does not want."""

from __future__ import annotations

from collections.abc import Mapping

ANY_STATUS = frozenset(range(100, 1000))
MARKS = (
    ("cf-mitigated", "challenge", "Cloudflare", ANY_STATUS),
    ("x-amzn-waf-action", "challenge", "AWS WAF", ANY_STATUS),
    ("x-amzn-waf-action", "captcha", "AWS WAF", ANY_STATUS),
    ("x-datadome", "protected", "DataDome", frozenset({401, 403})),
)
"""Header, its value, whose it is, and with which status. Documented by them: Cloudflare, *Detect a
Challenge Page response*; AWS WAF, *CAPTCHA and Challenge action behavior* (with 202 and 405);
DataDome, *Validate Request* (good answers carry the same header). Bodies are not looked at: pages
that are no challenge speak of captchas, too. Akamai documents no mark; its refusals are a plain
403."""


def challenger(status: int, headers: Mapping[str, str]) -> str | None:
    """Returns whose challenge an answer is, None if it is none.

    Args:
        status: of the answer.
        headers: with names in lower case, or in any case if the mapping does not mind.
    """
    for name, value, whose, statuses in MARKS:
        if status in statuses and headers.get(name, "").strip().lower() == value:
            return whose
    return None
