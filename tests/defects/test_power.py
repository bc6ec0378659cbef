"""The measure of the gate's power: when a defect counts as seen, and as seen for the right reason; which ones share a
gate; what is stored, and what is made of it."""

import json

import power
import pytest
from defect import Defect, Gate, Patch, Seed, Seen, union
from groups import Group, groups
from measure import Outcome, finding, interval, share, unexplained


def result(check="quiet", subject="steady: unexpected alerts", verdict="FAIL", reason="Errors fired live", **more):
    return {"check": check, "subject": subject, "verdict": verdict, "reason": reason, **more}


def seeded(name="one", *seen_by, never=(), path=None, **more):
    seeds = (Seed(patch=(Patch(file="a", find=name, replace="x"),)),)
    about = {"about": name, "area": "rules", "seeds": seeds, "gate": Gate(), "disturbs": frozenset(), "awaits": ""}
    return Defect(name, path, **{**about, "seen_by": seen_by, "never": never, **more})


QUIET = Seen(check="quiet", subject="^steady", verdict="FAIL", words=("errors", "live"))
PASSED = result(verdict="PASS", reason="0 unexpected alerts")


@pytest.mark.parametrize(
    ("defect", "outcome", "seen", "right"),
    [
        pytest.param(seeded("one", QUIET), Outcome(1, "", [result()]), True, True, id="by its result with its words"),
        pytest.param(seeded("one", QUIET), Outcome(0, "", [PASSED]), False, False, id="not at all"),
        pytest.param(
            seeded("one", QUIET), Outcome(1, "", [result(check="latency")]), True, False, id="by another check"
        ),
        pytest.param(
            seeded("one", QUIET), Outcome(1, "", [result(subject="overload: x")]), True, False, id="elsewhere"
        ),
        pytest.param(
            seeded("one", QUIET), Outcome(1, "", [result(reason="Other fired live")]), True, False, id="other words"
        ),
        pytest.param(
            seeded("one", QUIET), Outcome(3, "", [result(verdict="INCONCLUSIVE")]), True, False, id="other verdict"
        ),
        pytest.param(
            seeded("one", QUIET), Outcome(1, "", [result(reason="live", remedy="Errors: see the rule")]), True, True,
            id="a word in the remedy",
        ),
        pytest.param(
            seeded("one", QUIET, Seen(check="latency")), Outcome(1, "", [result()]), True, False, id="one of two"
        ),
        pytest.param(
            seeded("one", QUIET, never=(Seen(verdict="PASS"),)), Outcome(1, "", [result(), PASSED]), True, False,
            id="beside what must not be",
        ),
        pytest.param(
            seeded("one", Seen(exit=70, words=("exited",))), Outcome(70, "server exited", ()), True, True, id="error"
        ),
        pytest.param(seeded("one", QUIET), Outcome(70, "server exited", ()), True, False, id="an error instead"),
        pytest.param(seeded("one", Seen(exit=2)), Outcome(0, "", [PASSED]), False, False, id="no error"),
        pytest.param(seeded("one"), Outcome(0, "", [PASSED]), False, False, id="unseen, and it is"),
        pytest.param(seeded("one"), Outcome(1, "", [result()]), True, False, id="unseen, and seen after all"),
    ],
)  # fmt: skip
def test_when_a_defect_is_seen_and_when_for_the_right_reason(defect, outcome, seen, right):
    found = finding(defect, outcome)
    assert (found.seen, found.right) == (seen, right), found
    assert bool(found.missing) != right or defect.unseen
    assert bool(found.instead) == seen


def test_beside_other_defects_only_a_result_about_it_counts_as_seeing_it():
    one, other = seeded("one", Seen(check="latency", verdict="FAIL")), seeded("other", QUIET)
    outcome = Outcome(1, "", [result()])
    assert not finding(one, outcome, [other]).seen and finding(one, outcome).seen
    assert finding(other, outcome, [one]).right
    assert not unexplained([one, other], outcome)
    assert unexplained([one], outcome) == ["FAIL quiet, steady: unexpected alerts: Errors fired live"]


def test_what_a_shared_gate_did_not_name_is_measured_alone(two, monkeypatch, tmp_path):
    store, one, _ = two
    (tmp_path / "other.yaml").write_text("other")
    other = seeded("other", Seen(check="latency"), path=tmp_path / "other.yaml")
    ran = []

    def run(folder, gate, defects):
        ran.append([d.name for d in defects])
        return None, Outcome(1, "", [result(), *([result(check="latency")] if len(defects) == 1 else [])])

    monkeypatch.setattr(power, "run", run)
    power.measure_groups(store, [Group(Gate(), (one, other))], jobs=1)
    assert ran == [["one", "other"], ["other"]]
    assert store.of(one)["beside"] == ["other"] and not store.of(one)["again"]
    assert store.of(other)["right"] and store.of(other)["beside"] == [] and store.of(other)["again"]
    assert "Measured again alone, not being named beside others: `other`." in power.figures(store, [one, other], [])


@pytest.mark.parametrize("named", [1, 2, 3])
def test_what_a_crowded_machine_did_not_show_is_measured_once_more_alone(two, monkeypatch, named):
    store, one, hidden = two
    ran = []

    def run(folder, gate, defects):
        ran.append([d.name for d in defects])
        return None, Outcome(1, "", [result()] if ran.count(["one"]) == named and defects == (one,) else [])

    monkeypatch.setattr(power, "run", run)
    power.measure_groups(store, [Group(Gate(), (one,)), Group(Gate(), (hidden,))], jobs=2)
    assert ran.count(["one"]) == min(named, 2) and ran.count(["hidden"]) == 1
    assert (store.of(one)["right"], store.of(one)["again"]) == (named < 3, named > 1)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(20, 20, 0.8316, 1), (0, 10, 0, 0.3085), (9, 29, 0.1528, 0.5083), (50, 50, 0.9289, 1)],
)
def test_the_intervals_are_those_of_clopper_and_pearson(k, n, low, high):
    assert interval(k, n) == pytest.approx((low, high), abs=5e-4)
    assert share(k, n).startswith(f"{k} of {n}, ") and share(0, 0) == "none of 0"


def names(*defects):
    return [[d.name for d in group.defects] for group in groups(defects)]


@pytest.mark.parametrize(
    ("other", "together"),
    [
        pytest.param({}, True, id="nothing in common"),
        pytest.param({"disturbs": "nothing"}, True, id="disturbs nothing"),
        pytest.param({"disturbs": frozenset({"a"})}, False, id="both change one signal"),
        pytest.param({"disturbs": "everything"}, False, id="disturbs everything"),
        pytest.param({"seen_by": ()}, False, id="one is unseen"),
        pytest.param({"seen_by": (QUIET,)}, False, id="both are seen by one result"),
        pytest.param({"seen_by": (Seen(exit=2),)}, False, id="no gate can be judged"),
        pytest.param({"gate": Gate(scenario="scenarios/other.py")}, False, id="another load"),
        pytest.param({"gate": Gate(experiments=("b", "c"))}, True, id="more experiments"),
        pytest.param({"gate": Gate(experiments=("b", "c", "d"))}, False, id="too many experiments"),
    ],
)
def test_which_defects_share_a_gate(other, together):
    one = seeded("one", QUIET, disturbs=frozenset({"a"}), gate=Gate(experiments=("a",)))
    other = seeded("other", **{"seen_by": (Seen(check="latency"),), **other})
    assert names(one, other) == ([["one", "other"]] if together else [["one"], ["other"]])


def test_a_gate_for_several_does_what_each_asks_for():
    both = union(Gate(for_s=5, experiments=("a", "b")), Gate(for_s=9, experiments=("b", "c"), checks=("quiet", "x")))
    assert (both.for_s, both.experiments, both.checks) == (9, ("a", "b", "c"), ("slos", "contracts", "quiet", "x"))


@pytest.fixture
def two(tmp_path):
    """One defect that is to be seen and one that is not, and a store that knows of neither."""
    for name in ("one", "hidden"):
        (tmp_path / f"{name}.yaml").write_text(name)
    one = seeded("one", QUIET, path=tmp_path / "one.yaml")
    return power.Store(tmp_path / "store", "v1"), one, seeded("hidden", path=tmp_path / "hidden.yaml")


def put(store, defect, outcome):
    power.note(store, defect, finding(defect, outcome), outcome)


def test_a_result_is_stored_as_it_comes_and_is_of_this_file_and_this_version_only(two, tmp_path):
    store, one, _ = two
    put(store, one, Outcome(1, "", [result()]))
    with (store.folder / "results.jsonl").open("a") as out:
        out.write('{"key": "cut sh')
    again = power.Store(store.folder, "v1")
    assert again.of(one)["right"] and power.Store(store.folder, "v2").of(one) is None
    one.path.write_text("changed")
    assert again.of(one) is None


def test_the_figures_say_what_was_missed_and_what_the_gate_said_instead(two):
    store, one, hidden = two
    late = seeded("late", awaits="A")
    put(store, one, Outcome(1, "", [result(check="latency", reason="p95 9 s")]))
    put(store, hidden, Outcome(1, "", [result()]))
    store.put("good/0", exit_code=0, red=[])
    store.put("good/1", exit_code=1, red=["FAIL latency, steady: p95"])
    said = "\n".join(power.figures(store, [one, late], [hidden]))
    assert "| 1 of 1, 100.0 % (2.5 to 100.0 %) |" in said and "| 0 of 1, 0.0 % (0.0 to 97.5 %) |" in said
    assert "| 1 of 2, 50.0 % (1.3 to 98.7 %) |" in said and "a good gate: FAIL latency, steady: p95" in said
    assert "- `one`: no quiet '^steady' FAIL with 'errors', 'live'. Instead: FAIL latency" in said
    assert "Seen after all, and no longer to be listed below: hidden." in said
    assert "Left out, for their checks are not there yet: 1." in said


@pytest.mark.parametrize(
    ("outcome", "of_hidden", "good", "code"),
    [
        pytest.param(Outcome(1, "", [result()]), Outcome(0, ""), 0, 0, id="all as it should be"),
        pytest.param(Outcome(0, ""), Outcome(0, ""), 0, 1, id="missed"),
        pytest.param(Outcome(1, "", [result()]), Outcome(1, "", [result()]), 0, 1, id="unseen, and seen after all"),
        pytest.param(Outcome(1, "", [result()]), Outcome(0, ""), 1, 1, id="a good gate is red"),
    ],
)
def test_the_command_fails_where_the_gate_is_not_what_the_page_says(
    two, tmp_path, monkeypatch, outcome, of_hidden, good, code
):
    store, one, hidden = two
    page = tmp_path / "power.md"
    page.write_text(f"# Page\n{power.BEGIN}\nold\n{power.END}\nrest\n")
    asked = []

    def measured(store, due, jobs):
        for defect in (defect for group in due for defect in group.defects):
            asked.append(defect)
            put(store, defect, of_hidden if defect.unseen else outcome)

    monkeypatch.setattr(power, "read_all", lambda: ([one], [hidden]))
    monkeypatch.setattr(power, "version_of", lambda: "v1")
    monkeypatch.setattr(power, "STORE", store.folder)
    monkeypatch.setattr(power, "put_into_page", lambda lines, put=power.put_into_page: put(lines, page))
    monkeypatch.setattr(power, "measure_groups", measured)
    monkeypatch.setattr(power, "measure_good", lambda store, times: store.put("good/0", exit_code=good, red=[]))
    assert power.main([]) == code
    assert page.read_text().startswith(f"# Page\n{power.BEGIN}\n\n") and page.read_text().endswith("\nrest\n")
    assert "old" not in page.read_text() and "| rules | 1 |" in page.read_text()
    assert power.main([]) == code and len(asked) == 2, "what is measured is not measured again"
    lines = [json.loads(line) for line in (store.folder / "results.jsonl").read_text().splitlines()]
    assert {line["key"].split("/")[0] for line in lines} == {"one", "hidden", "good"}
