"""The dress of every page that reelscript writes: one file, strict, that opens from disk.

```
title, body (Markup), data  --page()-->  <!doctype html> ... CSP, page.css, plot.min.js, charts.js
```

```
body = environment("reelscript.jobs.sweep").get_template("sweep.html.jinja").render(found=found)
html = page("Sweep", Markup(body), {"charts": {"by-year": {"kind": "bars", "label": "...", ...}}})
```

The body is a header, a main with sections, and a footer, in the classes of page.css. What it shows
stands in it as text and tables; where scripts run, a figure is drawn besides:

```
{% import "parts.html.jinja" as parts %}
{% call parts.chart("by-year") %}<details><summary>Numbers</summary><table>...{% endcall %}
```

`label` is what is read aloud in place of the drawing. The kinds, with what else they take (numbers
are finite or null, `tone` is one of kept, rejected, failed, unused, accent):

- `histogram`: `edges`, `sides` (one or two of `{"name", "tone", "counts"}`; the second hangs down),
  `limits` (`{"side": "min" | "max", "at", "label"}`), `x`.
- `bars`: `rows` (`{"label", "value", "tone"}`, and `of` for a pale bar behind), `x`; `upright` true
  for bars that stand over a row of labels.
- `lines`: `series` (`{"name", "tone", "points": [[x, y], ...]}`, and `bare` true for a line without
  dots), `x`, `y`, `log` ("", "x", "y", "xy"), `marks` (`{"x", "label"}`, upright lines).
- `heat`: `cells` (`{"x", "y", "value", "text"}`, value null where it is unknown), `x`, `y`.
- `dots`: `rows` (`{"label", "value", "low", "high"}`, the last two null where there is no
  interval), `x`, `marks` (values at which a line stands).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from reelscript.jobs.report.wording import (
    clock,
    hours_text,
    number,
    percent,
    printable,
    seconds_text,
    upper_first,
)

PLOT_STYLE = """:where(.plot) {
  --plot-background: white;
  display: block;
  height: auto;
  height: intrinsic;
  max-width: 100%;
}
:where(.plot text),
:where(.plot tspan) {
  white-space: pre;
}"""
"""The style sheet that Observable Plot 0.6.17 puts into each of its drawings (src/plot.js), of the
class that charts.js names: the policy allows it by its hash."""


def page(
    title: str, body: str, data: Mapping[str, Any], scripts: Sequence[str] = ("charts.js",)
) -> str:
    """Returns a whole page; equal for equal arguments.

    Its policy allows the style sheets and scripts that stand in it, by their hashes, and pictures
    and films that lie beside it; nothing else is loaded, and nothing is evaluated.

    Args:
        title: of the page, as text.
        body: Markup of a template of `environment()`: header, sections, footer. A plain str is
            text, and is escaped.
        data: what the scripts need, plain data without NaN: `{"charts": {...}}`, and what else
            they ask for. Its texts come from anywhere.
        scripts: files of this folder, run in this order after plot.min.js.

    Raises:
        ValueError: a number in `data` is NaN or infinite.
    """
    code = [_file("vendor/plot.min.js"), *(_file(name) for name in scripts)]
    style = _file("page.css")
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            title=title,
            body=escape(body),
            data=Markup(json_in_html(data)),
            style=Markup(style),
            scripts=[Markup(text) for text in code],
            style_hashes=[csp_hash(text) for text in (style, PLOT_STYLE)],
            script_hashes=[csp_hash(text) for text in code],
            licences=_file("vendor/LICENSES.txt"),
        )
    )


def environment(package: str = "reelscript.jobs.report") -> Environment:
    """Returns where templates of pages are made: every value is escaped and made printable.

    Args:
        package: whose folder holds the templates; those of this folder can always be imported:
            `{% import "parts.html.jinja" as parts %}`.
    """

    def source(name: str) -> str | None:
        for place in (package, "reelscript.jobs.report"):
            file = files(place).joinpath(name)
            if file.is_file():
                return file.read_text(encoding="utf-8")
        return None

    made = Environment(
        autoescape=True,
        finalize=printable,
        loader=FunctionLoader(source),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": number,
        "hours": hours_text,
        "seconds": seconds_text,
        "percent": percent,
        "clock": clock,
        "upper_first": upper_first,
    }
    return made


def json_in_html(data: Any) -> str:
    """Returns data as JSON that may stand in a script element: it has no `<`, `>` or `&`.

    Source: the HTML standard, "Restrictions for contents of script elements".
    """
    text = json.dumps(_printable(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def csp_hash(text: str) -> str:
    """Returns the source expression by which a content security policy allows a style or script.

    Source: W3C Content Security Policy Level 3, section 2.3.1 (hash-source).
    """
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _printable(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {printable(key): _printable(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_printable(value) for value in data]
    return printable(data)


def _file(name: str) -> str:
    return files("reelscript.jobs.report").joinpath(name).read_text(encoding="utf-8")
