"""Objectives as OpenSLO, sloth and Pyrra write them."""

import pytest
import yaml

from harness.plan.slos import read_slos

SLOTH = """
version: prometheus/v1
service: shop
slos:
- name: availability
  objective: 99.9
  sli:
    events:
      error_query: sum(rate(http_requests_total{job="shop",code=~"(5..|429)"}[{{.window}}]))
      total_query: sum(rate(http_requests_total{job="shop"}[{{.window}}]))
  alerting: {name: ShopErrors, page_alert: {labels: {severity: page}}}
- name: strict
  objective: 99.99
  sli: {raw: {error_ratio_query: 'sum(rate(errors_total[{{.window}}])) / sum(rate(all_total[{{.window}}]))'}}
- name: quick
  objective: 95
  sli:
    events:
      error_query: |
        sum(rate(http_seconds_count[{{.window}}])) - sum(rate(http_seconds_bucket{job="shop", le="0.25"}[{{.window}}]))
      total_query: sum(rate(http_seconds_count[{{.window}}]))
"""
KUBERNETES = {"apiVersion": "sloth.slok.dev/v1", "kind": "PrometheusServiceLevel", "metadata": {"name": "x"}}
OPENSLO = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: shop-availability}
spec:
  service: shop
  indicator:
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Prometheus, spec: {query: 'http_requests_total{code!~"5.."}'}}}
        total: {metricSource: {type: Prometheus, spec: {query: 'http_requests_total'}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  objectives: [{target: 0.995}]
"""
PYRRA = """
apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: shop-latency}
spec:
  target: "99"
  window: 2w
  indicator:
    latency:
      success: {metric: 'http_milliseconds_bucket{job="shop",le="100"}'}
      total: {metric: 'http_milliseconds_count{job="shop"}'}
"""
NATIVE = PYRRA.partition("    latency:")[0] + "    latencyNative: {latency: 200ms, total: {metric: http_seconds}}\n"
ERRORS = PYRRA.partition("    latency:")[0] + (
    "    ratio: {errors: {metric: 'http_total{code=~\"5..\"}'}, total: {metric: http_total}}\n"
)
FRESH = "- {name: fresh, objective: 99, sli: {raw: {error_ratio_query: 'avg(age_of_data > bool 60)'}}}\n"


@pytest.fixture
def slos(tmp_path):
    def reading(text, only=""):
        (tmp_path / "slos.yaml").write_text(text)
        problems = []
        return read_slos(tmp_path, "slos.yaml" + only, problems), problems

    return reading


def kept(found):
    latency, errors = found.latency, found.error_rate
    return (latency and (round(latency.target, 9), latency.percentile)), (errors and errors.target)


READ = {
    "sloth, the strictest of a kind": (SLOTH, "", ((0.25, 95), 0.0001)),
    "one of them": (SLOTH, "#availability", (None, 0.001)),
    "two of them": (SLOTH, "#quick,availability", ((0.25, 95), 0.001)),
    "one that can be judged beside another": (SLOTH + FRESH, "#quick", ((0.25, 95), None)),
    "sloth as a resource": (
        yaml.safe_dump({**KUBERNETES, "spec": yaml.safe_load(SLOTH)}), "#quick", ((0.25, 95), None),
    ),
    "OpenSLO": (OPENSLO, "", (None, 0.005)),
    "OpenSLO with a percentage": (OPENSLO.replace("target: 0.995", "targetPercent: 99.5"), "", (None, 0.005)),
    "OpenSLO with a threshold": (OPENSLO.replace("target: 0.995", "op: lte, value: 0.3, target: 0.9"), "",
                                 ((0.3, 90), None)),
    "Pyrra": (PYRRA, "", ((0.1, 99), None)),
    "Pyrra's native histograms": (NATIVE, "", ((0.2, 99), None)),
    "Pyrra's errors": (ERRORS, "", (None, 0.01)),
    "ours": ("slos: {error_rate: {target: 1%}}", "", (None, 0.01)),
}  # fmt: skip


@pytest.mark.parametrize("text, only, objectives", READ.values(), ids=READ)
def test_objectives_of_other_tools(slos, text, only, objectives):
    found, problems = slos(text, only)
    assert problems == [] and kept(found) == objectives


WRONG = {
    "what requests cannot prove": (
        SLOTH + FRESH,
        "",
        "slos.yaml:22: slos[3]: fresh: is neither a share of failed requests nor a histogram's bucket, so requests "
        "cannot prove it; name those that are to be judged: slos: {file}#availability,strict,quick",
    ),
    "no such objective": (SLOTH, "#quik", "has no objective quik; did you mean quick?"),
    "no share": (OPENSLO.replace("0.995", "99.5"), "", "shop-availability: its target must be a share between 0 and 1"),
    "no objectives": ("apiVersion: openslo/v1\nkind: SLO\nspec: {}\n", "", "its objectives cannot be read"),
    "no indicator": ("apiVersion: pyrra.dev/v1alpha1\nspec: {target: x}\n", "", "its objectives cannot be read"),
    "an empty list": ("version: prometheus/v1\nslos: []\n", "", "holds no objective"),
    "names of ours": ("slos: {error_rate: {target: 1%}}", "#errors", "only files of OpenSLO, sloth and Pyrra name"),
}


@pytest.mark.parametrize("text, only, says", WRONG.values(), ids=WRONG)
def test_what_cannot_be_read_is_one_sentence(slos, tmp_path, text, only, says):
    found, problems = slos(text, only)
    says = says.replace("{file}", str(tmp_path / "slos.yaml"))
    assert found is None and len(problems) == 1 and says in problems[0], problems
