"""report.html: the verdict for people, in one file that opens anywhere without a network.

Everything that comes from outside is escaped: by Jinja2 in the page, and by `in_script` in the data that its own script
reads. The page allows no script but that, and no address at all (its Content-Security-Policy).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, TextIO, TypeVar

import jinja2
import numpy as np
from markupsafe import Markup

from harness.errors import EvidenceError
from harness.history import History, Outcome, Window
from harness.report.drill import WORST_FIRST, drilled, figure, worst_of
from harness.report.lanes import lanes, phases
from harness.report.references import Find, References
from harness.report.stored import Stored, loads
from harness.report.summary import CAUSES, printable
from harness.units import count, duration, listed, percent
from harness.verdict import Reference

Made = TypeVar("Made")
PAGE = Path(__file__).with_name("page")
AT_ONCE = 12  # results that did not pass which are shown with what they rest on
LINES_AT_MOST = 30  # of what one result rests on
TEXTS = ("check", "subject", "reason", "status", "place", "remedy")
SECTIONS = (  # title, the checks that it is about
    ("Service level objectives", ("availability", "latency", "error_ratio")),
    ("Telemetry against truth", ("metrics_true", "logged", "audited", "stored", "traced", "rule_data")),
    ("Prediction integrity", ("predictions", "answers")),
    ("Alerting as a whole", ("alert_coverage", "watchdog", "routes", "messages", "scrape")),
    ("Probes", ("probes", "starts", "stops")),
    ("Growth, stalls and recovery", ("growth_of", "stalls", "left_behind", "latency_after")),
    ("Compared with the baseline", ("baseline_figures", "baseline_alerts", "baseline_metrics")),
    ("Your own checks", ("promql", "command")),
    ("Whether the record can be relied on", ("recorded", "clocks", "injected")),
)  # fmt: skip
_DOUBT = re.compile(r"^(.*?), so this (?:is not attributable to the service|proves nothing): (.*)$", re.S)


def write(
    results: Mapping[str, Any], stored: Stored, out: TextIO, find: Find = lambda kind, key: [], folder: str = ""
) -> None:
    """Write the page. results: what results.json holds, or {} of a run that is not judged; find: what the run has of a
    request beside its row; folder: the run's folder, as the user would type it."""
    style = "\n".join(_asset(name) for name in ("uPlot.min.css", "report.css"))
    script = "\n".join(_asset(name) for name in ("uPlot.iife.min.js", "report.js"))
    missing = list(stored.missing)
    timeline = _tried(missing, "the timeline", lambda: lanes(stored)) or lanes(Stored(stored.run, History(), {}, {}))
    model = _model(results, stored, find, timeline["start"], missing)
    model["folder"] = shlex.quote(folder or str(stored.run))
    page = _environment().get_template("report.html.jinja").render(
        **model,
        style=Markup(style),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=in_script(timeline),
    )  # fmt: skip
    out.write(page.encode("utf-8", "replace").decode())


def in_script(value: Any) -> Markup:
    """JSON that neither ends the element it stands in nor is anything but JSON to a script."""
    text = json.dumps(_finite(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for c in "<>&":
        text = text.replace(c, f"\\u{ord(c):04x}")
    return Markup(text)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _asset(name: str) -> str:
    return (PAGE / name).read_text("utf-8")


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.ChainableUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_shown,
    )  # fmt: skip
    made.filters |= {"duration": _duration, "percent": percent, "count": count, "slug": slug}
    return made


def _shown(value: Any) -> Any:
    """What is put into the page: control characters, and those that turn the direction of text, become a mark."""
    return printable(value) if type(value) is str else "" if value is None else value


def _duration(seconds: Any) -> str:
    return duration(seconds) if isinstance(seconds, (int, float)) and math.isfinite(seconds) else ""


def slug(text: str) -> str:
    """A name as an anchor: no two names have the same."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-")
    return f"{plain}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:6]}"


def _model(results: Mapping[str, Any], stored: Stored, find: Find, start: float, missing: list[str]) -> dict[str, Any]:
    """All that the template says, as plain values."""
    history = stored.history
    given = _results(results, missing)
    for number, result in enumerate(sorted(_failing(given), key=lambda r: WORST_FIRST.index(r["verdict"])), 1):
        result["number"] = number
    experiments = [str(name) for name in _list(results.get("experiments")) or _list(stored.plan.get("experiments"))]
    windows = phases(history)
    for result in given:
        result["zoom"] = _zoom(result, windows, start)
        name = result["subject"].partition(": ")[0]
        result["experiment"] = name if name in experiments else ""
    if not results:
        missing.insert(0, "results.json: this run is not judged; `harness check` does it")
    references = References(stored.run, history, find)
    failing = [r for r in _failing(given) if r["number"] <= AT_ONCE]
    for result in failing:
        result["lines"] = _lines(references, result, missing)
    service = results.get("service")
    service = service if isinstance(service, Mapping) else {"name": service or stored.plan.get("service", "")}
    causes_first = sorted(given, key=lambda r: r["check"] not in CAUSES)
    by = {verdict: [r for r in causes_first if r["verdict"] == verdict] for verdict in WORST_FIRST}
    generator = results.get("generator")
    return {
        "verdict": str(results.get("verdict") or "NOT JUDGED"),
        "service": service,
        "started": str(results.get("started", "")),
        "lasted": _length(results),
        "experiments": _tried(missing, "the experiments", lambda: drilled(stored, given, experiments)) or [],
        "requests": results.get("requests"),
        "lag": generator.get("lag_p99_ms") if isinstance(generator, Mapping) else None,
        "results": sorted(given, key=lambda r: WORST_FIRST.index(r["verdict"])),
        "counts": {verdict: len(of) for verdict, of in by.items()},
        "failed": by["FAIL"],
        "unclear": _grouped(by["INCONCLUSIVE"]),
        "passed": len(by["PASS"]),
        "alerts": _alerts(results),
        "coverage": _coverage(results),
        "sections": [
            one
            for title, checks in SECTIONS
            if (one := _tried(missing, title, lambda t=title, c=checks: _section(t, c, given, stored)))
        ],
        "not_applicable": [one for one in _list(results.get("not_applicable")) if isinstance(one, Mapping)],
        "left": _list(results["left_behind"]) if "left_behind" in results else None,
        "remarks": _list(results.get("remarks")),
        "missing": missing,  # to which the parts above add
        "environment": list(_flat(stored.environment)),
        "time_scale": history.setting("time_scale"),
        "again": _again(given, experiments),
        "gate": shlex.quote(str(stored.plan.get("gate", "gate.yaml"))),
        "any_timeline": bool(history.events or history.rows),
        "start_utc": _utc(history.events[0].at) if history.events else "",
    }


def _tried(missing: list[str], what: str, of: Callable[[], Made]) -> Made | None:
    """A part of the page; None where the record is of a form that it cannot be made of, which is said."""
    try:
        return of()
    except Exception as error:  # one part hides none of the others
        missing.append(f"{what}: the record is of another form ({type(error).__name__}: {str(error)[:200]})")
        return None


def _results(results: Mapping[str, Any], missing: list[str]) -> list[dict[str, Any]]:
    """The results that a results.json of any version holds."""
    found, given = [], _list(results.get("results"))
    for one in given:
        if isinstance(one, Mapping) and one.get("verdict") in WORST_FIRST:
            texts = {
                key: str(one.get(key) or "") for key in ("check", "subject", "reason", "status", "place", "remedy")
            }
            found.append({**one, **texts})
    if lacking := len(given) - len(found):
        missing.append(f"results.json: {count(lacking, 'result')} of another form")
    return found


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _failing(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What did not pass, in the order in which `harness why` counts."""
    some = [r for r in results if r.get("verdict") in ("FAIL", "INCONCLUSIVE")]
    return sorted(some, key=lambda r: (WORST_FIRST.index(r["verdict"]), r.get("check") not in CAUSES))


def _zoom(result: Mapping[str, Any], windows: Mapping[str, Any], start: float) -> list[float] | None:
    """The stretch of the timeline that a result is about, in its seconds."""
    window = windows.get(str(result.get("subject", "")).partition(": ")[0])
    if window is not None:
        return [round(window.start - start, 3), round(window.end - start, 3)]
    moments = [e.get(key) for e in _list(result.get("evidence")) if isinstance(e, Mapping) for key in ("at", "until")]
    moments = [at for at in moments if isinstance(at, (int, float))]
    if not moments or not windows:
        return None
    pad = max(2.0, (max(moments) - min(moments)) / 10)
    return [round(min(moments) - start - pad, 3), round(max(moments) - start + pad, 3)]


def _lines(references: References, result: Mapping[str, Any], missing: list[str]) -> list[str]:
    found: list[str] = []
    for one in _list(result.get("evidence")):
        try:
            at, until = (math.nan if one[key] is None else float(one[key]) for key in ("at", "until"))
            found += references.lines(Reference(one["kind"], str(one["key"]), at, until))
        except EvidenceError as error:
            missing.append(str(error))
        except (KeyError, TypeError, ValueError):
            missing.append("results.json: what a result rests on is of another form")
    return found[:LINES_AT_MOST]


def _grouped(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Inconclusive results by what speaks against them: one cause often has many."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        doubt = _DOUBT.match(str(result.get("reason", "")))
        cause, rest = doubt.groups() if doubt else ("", result.get("reason", ""))
        groups.setdefault(cause or f"\0{len(groups)}", []).append({**result, "rest": rest})
    about = lambda of: listed(list(dict.fromkeys(str(r["subject"]).partition(": ")[0] for r in of))[:5])  # noqa: E731
    return [
        {"cause": "" if cause[0] == "\0" else cause, "about": about(of), "results": of} for cause, of in groups.items()
    ]


def _alerts(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    alerts = results.get("alerts")
    if not isinstance(alerts, Mapping):
        return []
    rank = {"PROVEN": 2, "INCONCLUSIVE": 1}
    found = [{"name": str(name), **one} for name, one in alerts.items() if isinstance(one, Mapping)]
    return sorted(found, key=lambda one: rank.get(one.get("status", ""), 0))


def _coverage(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = results.get("coverage")
    found = found if isinstance(found, Mapping) else {}
    alerts = [one for one in _alerts(results) if one.get("status") == "PROVEN"]
    said = []
    for name, of in found.items():
        if not isinstance(of, Mapping) or not {type(of.get("proven")), type(of.get("applicable"))} <= {int}:
            continue
        mine = [one.get("notified_s") for one in alerts if one.get("severity") == name]
        took = sorted(s for s in mine if isinstance(s, (int, float)))
        said.append({**of, "severity": str(name), "median_s": median(took) if took else None, "took": took})
    return said


def _section(title: str, checks: Sequence[str], results: Sequence[Mapping], stored: Stored) -> dict[str, Any] | None:
    mine = [r for r in results if r.get("check") in checks]
    found: dict[str, Any] = {
        "title": title,
        "verdict": worst_of(mine),
        "confusion": [],
        "budgets": [],
        "figures": [],
        "wrong": [],
    }
    found["results"] = sorted(mine, key=lambda r: WORST_FIRST.index(r["verdict"]))
    if title == "Prediction integrity":
        found["confusion"], found["wrong"] = _confusion(stored), _wrong(stored)
    if title == "Service level objectives":
        found["budgets"] = [one for r in mine if (one := _budget(r))]
    if title == "Compared with the baseline":
        found["figures"] = _earlier(stored)
    return found if mine or found["confusion"] or found["figures"] else None


def _confusion(stored: Stored) -> list[dict[str, Any]]:
    """How often each class was answered for each that the input was made with, over all answers of the load."""
    rows = [stored.history.rows[name] for name in loads(stored.history)]
    if not rows:
        return []
    expected = np.concatenate([of["expected"][of["outcome"] == Outcome.OK] for of in rows])
    predicted = np.concatenate([of["predicted"][of["outcome"] == Outcome.OK] for of in rows])
    kept = (expected >= 0) & (predicted >= 0)
    expected, predicted = expected[kept], predicted[kept]
    known = sorted({*np.unique(expected).tolist(), *np.unique(predicted).tolist()})
    names = next((c["classes"] for c in stored.checks if c.get("check") == "predictions" and c.get("classes")), [])
    name = lambda of: str(names[of]) if of < len(names) else f"class {of}"  # noqa: E731
    return [
        {
            "expected": name(e),
            "of": [
                {"predicted": name(p), "n": int(((expected == e) & (predicted == p)).sum()), "right": e == p}
                for p in known
            ],
        }
        for e in known[:12]
    ]


def _wrong(stored: Stored) -> list[dict[str, Any]]:
    """The phases in which a class was answered wrong, each with some of the requests."""
    found, until = [], 0.0
    for name, window in phases(stored.history).items():
        window, until = Window(max(window.start, until), window.end), window.end  # phases overlap
        some = [stored.history.requests(window, generator) for generator in loads(stored.history)]
        bad = [
            r[
                (r["outcome"] == Outcome.OK)
                & (r["expected"] >= 0)
                & (r["predicted"] >= 0)
                & (r["expected"] != r["predicted"])
            ]
            for r in some
        ]
        if n := sum(map(len, bad)):
            ids = [key.decode("ascii", "replace") for r in bad for key in r["request_id"][:3].tolist() if key]
            found.append({"phase": name, "n": n, "ids": ids[:3]})
    return found


def _budget(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """How much of what an objective allows was used, as a share."""
    measured, bound, kind = result.get("measured"), result.get("bound"), result.get("check")
    if not isinstance(measured, (int, float)) or not isinstance(bound, (int, float)):
        return None
    if kind == "availability":
        used = (1 - measured) / (1 - bound) if bound < 1 else None
    elif kind in ("error_ratio", "latency"):
        used = measured / bound if bound else None
    else:
        return None
    unit = str(result.get("unit", ""))
    said = {"subject": result.get("subject"), "verdict": result.get("verdict"), "used": used}
    return said | {"measured": figure(measured, unit), "bound": figure(bound, unit)} if used is not None else None


def _earlier(stored: Stored) -> list[dict[str, Any]]:
    """What the earlier runs measured of the steady load, of those figures that all have."""
    runs = stored.history.baseline.runs if stored.history.baseline is not None else ()
    of: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.figures.get("steady", {}).items():
            of.setdefault(name, []).append(value)
    return [
        {"name": name, "n": len(values), "low": f"{min(values):.4g}", "median": f"{median(values):.4g}",
         "high": f"{max(values):.4g}"}
        for name, values in of.items() if len(values) == len(runs)
    ]  # fmt: skip


def _flat(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", str(value)


def _again(results: Sequence[Mapping[str, Any]], experiments: Sequence[str]) -> str:
    """The shortest command that repeats what did not pass."""
    named = {str(r.get("subject", "")).partition(":")[0] for r in _failing(map(dict, results))}
    only = [name for name in experiments if name in named]
    return "" if named - set(only) else "".join(f" --only {shlex.quote(name)}" for name in only)


def _length(results: Mapping[str, Any]) -> str:
    try:
        began, ended = (datetime.fromisoformat(str(results[key])) for key in ("started", "ended"))
    except (KeyError, ValueError):
        return ""
    return duration((ended - began).total_seconds())


def _utc(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return ""
