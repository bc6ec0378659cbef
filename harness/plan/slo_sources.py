"""Objectives as other tools write them: OpenSLO v1, sloth and Pyrra, read as those of a slos.yaml.

Their queries decide what an objective is: a histogram's bucket is a bound on latency, responses by status or errors are
a share of failed requests. Anything else is no objective that requests can prove, and is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from harness.plan.yamlfile import Loc, YamlFile, dotted
from harness.units import nearest, parse_duration

_BUCKET = re.compile(r'(\w+)_bucket\s*\{[^}]*\ble\s*=~?\s*"([0-9.eE+-]+?)"')
_FAILED = re.compile(r"(?i)error|fail|5\.\.|5\\d|5\[0-9\]|\b5xx\b|code|status")
_MS = re.compile(r"(?i)_(ms|msec|milliseconds)(_|$)")


class _Objective(NamedTuple):
    """One of a file: its name, the share that is to be good, what its queries are, a bound that is written out, and
    where it stands."""

    name: str
    share: float
    queries: str
    bound_s: float | None
    loc: Loc


def is_foreign(data: Any) -> bool:
    """Whether a file is of one of these tools."""
    if not isinstance(data, dict):
        return False
    api = str(data.get("apiVersion", ""))
    return api.startswith(("openslo/", "pyrra.dev/", "sloth.slok.dev/")) or str(data.get("version")) == "prometheus/v1"


def converted(file: YamlFile, only: tuple[str, ...], problems: list[str]) -> YamlFile | None:
    """The same objectives as a slos.yaml has them, the strictest of each kind; None with every problem appended. only:
    the names of those that are read; (): all."""
    try:
        found = list(_objectives(file.data))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        problems.append(f"{file.place()}: its objectives cannot be read: {' '.join(str(error).split())}")
        return None
    names, before = [one.name for one in found], len(problems)
    problems += [f"{file.name}: has no objective {name}; {nearest(name, names)}" for name in only if name not in names]
    slos: dict[str, dict[str, Any]] = {}
    for one in (one for one in found if not only or one.name in only):
        place = f"{file.place(one.loc)}: {dotted(one.loc)}: {one.name}"
        if not 0 < one.share < 1:
            problems.append(f"{place}: its target must be a share between 0 and 1, or a percentage")
        elif (bound_s := one.bound_s or _bound_s(one.queries)) is not None:
            made = {"target": f"{bound_s * 1000:.10g}ms", "percentile": round(100 * one.share, 6)}
            old = slos.get("latency")
            if old is None or (bound_s * 1000, -made["percentile"]) < (float(old["target"][:-2]), -old["percentile"]):
                slos["latency"] = made
        elif _FAILED.search(one.queries):
            lost = round(1 - one.share, 9)
            if "error_rate" not in slos or lost < slos["error_rate"]["target"]:
                slos["error_rate"] = {"target": lost}
        else:
            others = ",".join(name for name in names if name != one.name) or "NAME"
            what = "is neither a share of failed requests nor a histogram's bucket, so requests cannot prove it"
            problems.append(f"{place}: {what}; name those that are to be judged: slos: {file.name}#{others}")
    if len(problems) > before:
        return None
    if not slos:
        problems.append(f"{file.place()}: holds no objective")
        return None
    return YamlFile(file.name, {"slos": slos}, {("slos", kind): 1 for kind in slos})


def _objectives(data: Mapping[str, Any]) -> Iterator[_Objective]:
    spec = data.get("spec") if isinstance(data.get("spec"), dict) else data
    api = str(data.get("apiVersion", ""))
    name = str((data.get("metadata") or {}).get("name") or "")
    if api.startswith("openslo/"):
        queries, loc = _texts(spec.get("indicator") or spec.get("indicatorRef") or {}), ("spec", "objectives")
        for i, each in enumerate(spec["objectives"]):
            share = each.get("target", each.get("targetPercent", 0) / 100)
            value = each.get("value")  # of a threshold, in seconds
            bound = float(value) if value is not None and str(each.get("op", "lte")).startswith("lt") else None
            label = str(each.get("displayName") or (name if len(spec["objectives"]) == 1 else f"{name}[{i}]"))
            yield _Objective(label, float(share), queries, bound, (*loc, i))
    elif api.startswith("pyrra.dev/"):
        indicator = spec["indicator"]
        native = (indicator.get("latencyNative") or {}).get("latency")
        queries = _texts({key: value for key, value in indicator.items() if key != "bool_gauge"})
        bound = parse_duration(native) if native else None
        yield _Objective(name, float(spec["target"]) / 100, queries, bound, ("spec",))
    else:
        at: Loc = ("spec", "slos") if spec is not data else ("slos",)
        for i, each in enumerate(spec["slos"]):
            yield _Objective(str(each["name"]), float(each["objective"]) / 100, _texts(each.get("sli")), None, (*at, i))


def _texts(value: Any) -> str:
    """Every text in a value, in one."""
    if isinstance(value, dict):
        return "\n".join(_texts(each) for each in value.values())
    return "\n".join(map(_texts, value)) if isinstance(value, list) else str(value)


def _bound_s(queries: str) -> float | None:
    """The bound of the bucket that queries read; None where they read none."""
    found = [(name, float(le)) for name, le in _BUCKET.findall(queries)]
    return min((le / 1000 if _MS.search(name) else le for name, le in found), default=None)
