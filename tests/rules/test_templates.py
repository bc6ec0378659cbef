"""PromQL inside templates: compressed where it is written out, left and said where it is not."""

from pathlib import Path

import pytest
from recording import PROMTOOL

from harness.rules import compress as module
from harness.rules.compress import compress, remarks
from harness.rules.rulefile import check_with_promtool, load
from harness.rules.templates import exchanged, queries

RATE = "rate(x[5m])"
WRITTEN_OUT = {
    "a string": '{{ query "rate(x[5m])" | first | value }}',
    "a raw string": "{{ with query `rate(x[5m])` }}{{ . | first | value }}{{ end }}",
    "piped": '{{- "rate(x[5m])" | query | first | value -}}',
    "in parentheses": '{{ range (query "rate(x[5m])") }}{{ .Value }}{{ end }}',
    "piped in parentheses": '{{ ("rate(x[5m])" | query) | first | value }}',
    "to a variable": '{{ $r := query "rate(x[5m])" }}{{ $r | first | value }}',
    "over lines, beside other text": 'of query "rate(x[5m])":\n{{\n  query\n  "rate(x[5m])"\n}} [5m] }} {{ $value }}',
}
MADE_LATER = {
    "printf": '{{ printf "rate(x{i=%q}[5m])" .Labels.instance | query | first | value }}',
    "printf in parentheses": '{{ query (printf "rate(x{i=%q}[5m])" .Labels.instance) }}',
    "printf of one string": '{{ printf "rate(x[5m])" | query }}',
    "a variable": '{{ $q := "rate(x[5m])" }}{{ query $q | first | value }}',
    "a variable in a pipeline": '{{ $q := "rate(x[5m])" }}{{ $q | query | first | value }}',
}
NONE = {
    "text": 'query "rate(x[5m])"',
    "a comment": '{{/* query "rate(x[5m])" */}}',
    "in a string": '{{ "query `rate(x[5m])`" }}',
    "a field and a variable": '{{ .query "a" }}{{ $query }}',
    "a link": '{{ graphLink "rate(x[5m])" }}',
}


@pytest.mark.parametrize("template", WRITTEN_OUT.values(), ids=WRITTEN_OUT)
def test_a_query_that_is_written_out_is_found_and_exchanged_alone(template):
    assert [query.expr for query in queries(template)] == [RATE]
    changed = exchanged(template, lambda expr: expr.replace("5m", "5s"))
    place = template.rindex(RATE)
    assert changed == template[:place] + "rate(x[5s])" + template[place + len(RATE) :]
    assert exchanged(template, lambda expr: expr) == template


@pytest.mark.parametrize("template", MADE_LATER.values(), ids=MADE_LATER)
def test_a_query_that_is_made_later_is_left(template):
    assert [query.expr for query in queries(template)] == [None]
    assert exchanged(template, lambda expr: "other") == template


@pytest.mark.parametrize("template", NONE.values(), ids=NONE)
def test_what_is_no_query_is_none(template):
    assert queries(template) == []


def test_quotes_in_a_query_and_several_queries():
    template = r'{{ query "a{b=\"c\\d\"}[5m]" }} and {{ query "e[5m]" }}'
    assert [query.expr for query in queries(template)] == [r'a{b="c\d"}[5m]', "e[5m]"]
    assert exchanged(template, lambda e: e.replace("5m", "5s")) == template.replace("5m", "5s")


def rules(tmp_path: Path, **annotations: str) -> Path:
    file = tmp_path / "rules.yaml"
    texts = "".join(f"      {name}: '{text.replace(chr(39), chr(39) * 2)}'\n" for name, text in annotations.items())
    file.write_text(
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up == 0\n    annotations:\n" + texts + "    labels:\n"
        "      load: '{{ query \"rate(x[5m])\" | first | value }}'\n"
        "  - {record: 'x:increase', expr: 'increase(x[5m])'}\n"
    )
    return file


def test_the_copy_asks_in_compressed_time_and_says_where_it_does_not(tmp_path):
    texts = {**WRITTEN_OUT, **MADE_LATER}
    texts = {f"t{i}": text.replace("\n", " ") for i, text in enumerate(texts.values())}
    left = {
        "count": ('{{ query "increase(x[5m])" }}', "increase() depends on how much happens"),
        "clock": ('{{ query "time() - x" }}', "time() reads the wall clock"),
        "reads": ('{{ query "x:increase" }}', "it reads x:increase, which cannot be compressed"),
        "no": ('{{ query "rate(x[" }}', "is no PromQL"),
        "uneven": ('{{ query "rate(x[5m] offset 100ms)" }}', "cannot be divided by 60"),
    }
    file = rules(tmp_path, **texts, **{name: text for name, (text, _) in left.items()})
    text, refused = compress([file], 60, 15, 15)
    assert refused.keys() == {"x:increase"}
    (tmp_path / "copy.yaml").write_text(text)
    assert check_with_promtool(PROMTOOL, [tmp_path / "copy.yaml"]) == []
    ((before,), (after,)) = load([file]), load([tmp_path / "copy.yaml"])
    for i, name in enumerate(texts):
        head, _, tail = before.annotations[name].rpartition(RATE)
        written_out = f"{head}rate(x[5s]){tail}"
        assert after.annotations[name] == (written_out if i < len(WRITTEN_OUT) else before.annotations[name])
    assert all(after.annotations[name] == old for name, (old, _) in left.items())
    assert after.labels == {"load": '{{ query "rate(x[5s])" | first | value }}'}

    said = remarks([file], 60, 15, 15)
    assert len(said) == len(MADE_LATER) + len(left)
    assert all(any(f"A: its annotation {name} is not judged live: " in one and why in one for one in said)
               for name, (_, why) in left.items())  # fmt: skip
    assert sum("is known only when it is filled in" in one for one in said) == len(MADE_LATER)
    assert [line.removeprefix("# ") for line in text.splitlines()[: len(said)]] == [" ".join(s.split()) for s in said]


def test_a_mistake_of_our_own_does_not_get_through(tmp_path, monkeypatch):
    file = rules(tmp_path, a='{{ query "rate(x[5m])" }}')
    scale = module.scale_promql
    monkeypatch.setattr(module, "scale_promql", lambda expr, k: scale(expr, k).replace("rate", "irate"))
    with pytest.raises(module.HarnessError, match="A: annotations"):
        compress([file], 60, 15, 15)


def test_the_durations_of_a_group(tmp_path):
    """An interval of 5 s is too often for the copy; a group's offset that does not divide refuses its rules."""
    file = tmp_path / "rules.yaml"
    file.write_text(
        "groups:\n"
        "- {name: often, interval: 5s, rules: [{alert: Often, expr: up == 0}]}\n"
        "- {name: odd, query_offset: 7ms, rules: [{alert: Odd, expr: up == 0, labels: {a: b}},"
        " {alert: Odd, expr: up == 1}]}\n"
        "- {name: slow, interval: 5m, query_offset: 1m, rules: [{alert: Slow, expr: up == 0}]}\n"
    )
    text, refused = compress([file], 60, 15, 15)
    assert refused.keys() == {"Often", 'Odd{a="b"}', "Odd{}"}
    assert "at least 0.1 s" in refused["Often"][0] and "7ms / 60" in refused["Odd{}"][0]
    assert "interval: 5s" in text and "query_offset: 1s" in text
