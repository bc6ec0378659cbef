"""report.html: what it says, that nothing from outside is markup in it, and that any folder has one."""

import io
import json
import re
from html.parser import HTMLParser

import pytest
from made_run import make

from harness.cli.main import main
from harness.report import html
from harness.report.stored import read

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028\u2029 {{ 7*7 }} "
HOSTILE += "' \" \x1b[2J\u202e &amp; ✗ 日本"


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.said, self._in = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in not in ("script", "style"):
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())


def written(run, results=None) -> str:
    out = io.StringIO()
    found = json.loads((run / "results.json").read_text()) if results is None else results
    html.write(found, read(run), out)
    return out.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make(tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture(scope="module")
def page(run):
    return written(run)


def test_what_failed_comes_first_with_figure_bound_place_and_remedy(page):
    text = Page(page).text
    order = [
        "FAIL",
        "fires only after 10 min, bound 8 min",
        "shorten its for",
        "rules.yaml:8",
        "2 results",
        "3 results passed",
    ]
    places = [text.index(one) for one in order]
    assert places == sorted(places)
    assert "harness gate --gate gate.yaml --only crash plain" not in text  # a name that a shell would split is quoted
    assert "--only 'crash plain'" in text


def test_a_failing_result_has_its_evidence_and_its_place_on_the_timeline(page):
    assert 'data-from="50.0" data-to="120.0"' in page
    assert "row load 1300" in Page(page).text and "status 503" in Page(page).text


def test_a_fault_opens_to_its_contract(page):
    text = Page(page).text
    for said in (
        "within 8 min", "1 min to 1 min 30 s", "after 10 min, last firing 5 min after the effect",
        "Down plain reaches plain", "kill it plain", "server.log: 2026-11-23T20:12:05.5Z ERROR plain",
        "refused by service, status 503",
    ):  # fmt: skip
        assert said in text, said


def test_the_classes_are_tabled_over_all_answers(page):
    table = Page(page).text.partition("answered PNEUMONIA")[2]
    assert table.split()[:6] == ["NORMAL", "plain", "1,029", "21", "PNEUMONIA", "0"]


def test_wrong_answers_have_their_phase_and_requests(page):
    assert f"Answered wrong: 10 times in steady ( {0:032x}, {100:032x}, {200:032x} )" in Page(page).text


def test_a_failing_result_leads_to_its_contract(page):
    tags = Page(page).tags
    link = next(a["href"] for tag, a in tags if tag == "a" and a["href"].startswith("#experiment-"))
    assert [tag for tag, a in tags if a.get("id") == link[1:]] == ["details"]


def test_it_needs_no_network_and_runs_no_script_but_its_own(page):
    tags = Page(page).tags
    assert not [a for _, a in tags if {"src", "srcset", "data"} & a.keys()]
    assert all(a["href"].startswith("#") for tag, a in tags if tag == "a")
    policy = next(a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy
    assert "<link" not in page and "@import" not in page
    assert len(page.encode()) < 400_000


def test_no_text_from_outside_is_markup_or_script(run, page, tmp_path):
    hostile = written(make(tmp_path / "b", HOSTILE))
    of = lambda text: [(tag, sorted(a)) for tag, a in Page(text).tags]  # noqa: E731
    assert of(hostile) == of(page)  # the same elements with the same attributes, whatever is said
    assert "\u2028" not in hostile.partition('id="data"')[2].partition("</script>")[0]
    assert "\x1b" not in hostile and "\u202e" not in hostile and "49" not in Page(hostile).tags[0]
    assert "{{ 7*7 }}" in Page(hostile).text


@pytest.mark.parametrize("text", ["</script>", "<!--", "]]>", "\u2028\u2029", "&lt;", "\ud800", '"\\'])
def test_data_in_a_script_is_json_and_ends_no_element(text):
    made = str(html.in_script({text: [text, float("nan")]}))
    assert not re.search("[<>&\u2028\u2029]", made) and made.isascii()
    assert json.loads(made) == {text: [text, None]}


def test_an_anchor_is_of_one_name_alone():
    assert html.slug("a b") != html.slug("a-b") and re.fullmatch(r"[a-z0-9-]+", html.slug(HOSTILE))


def cut(run):
    events = (run / "events.jsonl").read_text().splitlines()
    (run / "events.jsonl").write_text("\n".join(events[:-3]) + "\n[17954")
    for name in ("samples.jsonl.gz", "replays.json", "results.json", "types.json"):
        (run / name).unlink()
    (run / "requests-load.rows").write_bytes((run / "requests-load.rows").read_bytes()[:-5])


def emptied(run):
    for path in run.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def damaged(run):
    (run / "probes.jsonl").write_text("[1,2]\n")
    (run / "samples.jsonl.gz").write_bytes(b"no gzip")
    (run / "plan.yaml").write_text("{")
    (run / "journals" / "crash plain.json").write_text("[]")


def older(run):
    results = json.loads((run / "results.json").read_text())
    results |= {"schema": 1, "service": "svc", "alerts": ["x"], "coverage": None, "generator": 3}
    results["results"] = [{"verdict": "FAIL", "subject": 7}, {"verdict": "MAYBE"}, "text", *results["results"]]
    (run / "results.json").write_text(json.dumps(results))
    for name in ("resources.jsonl", "plan.yaml"):
        (run / name).unlink()


def strange(run):
    events = (run / "events.jsonl").read_text().replace('{"component": "plain"}', '["no", "mapping"]')
    (run / "events.jsonl").write_text(events)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (cut, ["did not come to its end", "not judged", "samples.jsonl.gz: is not there"]),
        (emptied, ["environment.json", "not judged"]),
        (damaged, ["probes.jsonl", "samples.jsonl.gz", "plan.yaml", "journals/crash plain.json"]),
        (strange, ["the experiments: the record is of another form"]),
        (older, ["2 results of another form", "plan.yaml"]),
    ],
)  # fmt: skip
def test_any_folder_has_a_page_that_says_what_is_missing(harm, said, tmp_path, capsys):
    run = make(tmp_path / "run")
    harm(run)
    assert main(["report", str(run), "--html"]) == 0
    text = Page((run / "report.html").read_text()).text
    assert "What is missing in this report" in text
    assert [one for one in said if one not in text] == []
    assert "nothing left behind" not in text  # of which nothing is known


def test_a_folder_that_takes_no_file_has_its_page_elsewhere(tmp_path, monkeypatch, capsys):
    run = make(tmp_path / "run")
    (run / "report.html.new").mkdir()  # as good as a read-only folder, also for root
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(run)]) == 0
    assert (tmp_path / "run.html").stat().st_size > 50_000 and "takes no file" in capsys.readouterr().err
    assert main(["report", str(run), "--html", str(tmp_path / "x.html")]) == 0 and (tmp_path / "x.html").exists()
    assert main(["report", str(tmp_path)]) == 2
