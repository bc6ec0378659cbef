"""The files of defects: each is one, its text is where it says, and what it makes of it can still be read."""

import ast

import pytest
import yaml
from defect import HERE, BadDefects, read, read_all
from edits import EDITS
from groups import groups
from seeded_server import DEFECTS
from seeds import replaced, source
from small_project import ROOT

SEEN, UNSEEN = read_all()
PAGE = (ROOT / "docs/power.md").read_text()


def test_there_are_enough_of_them_in_every_area():
    counted = {}
    for defect in SEEN:
        counted[defect.area] = counted.get(defect.area, 0) + 1
    assert len(SEEN) >= 45 and min(counted.values()) >= 2 and len(counted) == 13, counted


def test_what_they_name_is_there_and_nothing_else_is():
    seeds = [seed for defect in (*SEEN, *UNSEEN) for seed in defect.seeds]
    assert {seed.record for seed in seeds if seed.record} == set(EDITS)
    assert {seed.server for seed in seeds if seed.server} == set(DEFECTS)


def changed(defects):
    """The text of each file that these defects change, by its name in the project."""
    texts = {}
    for patch in (patch for defect in defects for seed in defect.seeds for patch in seed.patch):
        text = texts.get(patch.file) or source(patch.copy_of or patch.file).read_text()
        texts[patch.file] = replaced(text, patch.find, patch.replace, patch.file)
    return texts


@pytest.mark.parametrize("defect", [d for d in (*SEEN, *UNSEEN) if not d.record], ids=lambda d: d.name)
def test_its_text_is_where_it_says_and_what_comes_of_it_can_be_read(defect):
    for name, text in changed([defect]).items():
        assert ast.parse(text) if name.endswith(".py") else yaml.safe_load(text)
    for setting in (setting for seed in defect.seeds for setting in seed.set):
        at = yaml.safe_load(source(setting.file).read_text())
        for key in setting.path:
            at = at[key]
        assert at != setting.value


def test_each_that_a_gate_has_to_see_is_in_one_group_and_those_of_a_group_agree():
    alike = groups(d for d in (*SEEN, *UNSEEN) if not d.record)
    names = [defect.name for group in alike for defect in group.defects]
    assert sorted(names) == sorted(d.name for d in (*SEEN, *UNSEEN) if not d.record)
    for group in alike:
        assert len(group.defects) == 1 or not any(d.disturbs == "everything" for d in group.defects)
        changed(group.defects)


@pytest.mark.parametrize("defect", UNSEEN, ids=lambda d: d.name)
def test_the_page_lists_what_the_gate_cannot_see(defect):
    assert f"| `{defect.name}` | {defect.about} | {defect.why} |" in PAGE


def test_the_page_lists_nothing_else_as_unseen():
    part = PAGE.partition("## What the gate cannot see")[2].partition("\n## ")[0]
    listed = {line.split("`")[1] for line in part.splitlines() if line.startswith("| `")}
    assert listed == {defect.name for defect in UNSEEN}


GOOD = {
    "about": "Something that is wrong",
    "area": "rules",
    "seed": {"patch": [{"file": "a.yaml", "find": "x", "replace": "y"}]},
    "seen_by": {"check": "quiet", "subject": "^steady", "verdict": "FAIL", "words": ["x"]},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"abuot": "x"}, "bad.yaml:1: abuot: unknown key", id="unknown key"),
        pytest.param({"area": "rule"}, "area: input should be", id="unknown area"),
        pytest.param({"about": "short"}, "about:", id="about says nothing"),
        pytest.param({"seed": {}}, "seed: must have exactly one of", id="no seed"),
        pytest.param({"seed": {"server": "a", "record": "b"}}, "has server and record", id="two seeds"),
        pytest.param({"seed": {"patch": [{"file": "a", "find": ""}]}}, "seed.patch[0]", id="patch without text"),
        pytest.param({"seen_by": {"check": "quiet", "verdict": "BAD"}}, "seen_by.verdict", id="no verdict"),
        pytest.param({"seen_by": {"check": "quiet", "subject": "("}}, "seen_by.subject: no regular", id="no pattern"),
        pytest.param({"seen_by": {"words": ["x"]}}, "seen_by: must name a check", id="names nothing"),
        pytest.param({"seen_by": {"exit": 1}}, "seen_by.exit", id="exit code of a verdict"),
        pytest.param({"seen_by": "nothing"}, "why", id="unseen without a reason"),
        pytest.param({"why": "because"}, "why", id="seen with a reason why it is not"),
        pytest.param({"together": ["a"]}, "together names other defects", id="together with a seed"),
        pytest.param({"gate": {"for_s": 0}}, "gate.for_s", id="no load"),
        pytest.param({"seed": {"record": "rows-twice"}, "gate": {"for_s": 7}}, "gate", id="a record with a gate"),
        pytest.param({"awaits": "somebody"}, "awaits", id="awaits a letter"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_key(tmp_path, change, said):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({**change, **{k: v for k, v in GOOD.items() if k not in change}}, sort_keys=False))
    with pytest.raises(BadDefects) as bad:
        read(path)
    assert all(line.startswith(str(path)) for line in bad.value.problems) and said in str(bad.value), bad.value


def test_a_good_file_is_read(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    assert read(path).seen_by[0].words == ("x",)


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    (tmp_path / "unseen").mkdir()
    (tmp_path / "one.yaml").write_text("about: [")
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(GOOD | {"area": "?"}))
    (tmp_path / "three.yaml").write_text(
        yaml.safe_dump({"about": "Several at once", "area": "rules", "together": ["x"]})
    )
    (tmp_path / "unseen/four.yaml").write_text(yaml.safe_dump(GOOD))
    with pytest.raises(BadDefects) as bad:
        read_all(tmp_path)
    said = "\n".join(bad.value.problems)
    assert "one.yaml:2: not YAML" in said and "two.yaml:2: area" in said and "three.yaml: together: x" in said
    assert "four.yaml: seen_by" in said


def test_the_folder_holds_nothing_that_is_left_out():
    assert {path.suffix for path in HERE.iterdir() if path.is_file()} == {".yaml", ".py"}
