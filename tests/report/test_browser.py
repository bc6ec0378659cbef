"""report.html in a real Chromium: no error, one cursor and one zoom, keyboard, 360 pixels, nothing inaccessible.

Needs Debian's chromium (`apt-get install chromium`) or one that $CHROMIUM names; axe-core where $AXE names its file.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
from made_run import make
from test_html import HOSTILE, written

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")
AXE = Path(os.environ.get("AXE", "node_modules/axe-core/axe.min.js"))


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, text in (("plain", "plain"), ("hostile", HOSTILE)):
        (folder / f"{name}.html").write_text(written(make(folder / name, text)), encoding="utf-8")
    return folder


@pytest.fixture
def page(browser, files):
    """Opens a page; no console error and no request may come of it."""
    wrong, contexts = [], []

    def opened(name="plain", width=1280, **how):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, reduced_motion="reduce", **how))
        made = contexts[-1].new_page()
        made.on("console", lambda message: wrong.append(message.text))
        made.on("pageerror", lambda error: wrong.append(str(error)))
        made.on("dialog", lambda dialog: wrong.append(f"a script of the text ran: {dialog.message}"))
        made.on("request", lambda request: None if request.url.startswith("file:") else wrong.append(request.url))
        made.goto((files / f"{name}.html").as_uri())
        made.wait_for_selector("#lanes[data-ready]", timeout=20_000)
        return made

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def zoomed(page) -> tuple[float, float]:
    return tuple(float(page.get_attribute("#lanes", f"data-{edge}")) for edge in ("from", "to"))


def test_a_zoom_by_mouse_or_key_is_of_all_lanes(page):
    shown = page()
    assert zoomed(shown) == (0, pytest.approx(120, abs=0.2))
    box = shown.locator("[data-chart=rate] .u-over").bounding_box()
    mark = shown.locator("[data-lane='Down plain'] .s-firing")
    before = mark.bounding_box()["width"]
    shown.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    shown.mouse.down()
    shown.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 20, steps=4)
    shown.mouse.up()
    assert zoomed(shown) == (pytest.approx(60, abs=2), pytest.approx(90, abs=2))
    assert mark.bounding_box()["width"] == pytest.approx(4 * before, rel=0.2)
    shown.dblclick("[data-chart=latency] .u-over")
    assert zoomed(shown)[1] == pytest.approx(120, abs=0.2)
    shown.focus("#lanes")
    shown.keyboard.press("+")
    shown.keyboard.press("ArrowRight")
    a, b = zoomed(shown)
    assert b - a == pytest.approx(60, abs=1) and a > 0
    shown.keyboard.press("0")
    assert zoomed(shown)[0] == 0


def test_the_cursor_says_the_figures_of_one_moment_in_all_charts(page):
    shown = page()
    lane = shown.locator("[data-lane=faults]")
    lane.scroll_into_view_if_needed()
    box = shown.locator("[data-lane=faults] .s-fault").bounding_box()
    shown.mouse.move(box["x"] + box["width"] / 2, box["y"] + 4)
    assert "crash plain" in shown.inner_text("#ruler .now") and "crash plain: kill" in shown.inner_text("#tip")
    said = dict(zip(("arrivals", "goodput"), shown.locator("[data-chart=rate] output").all_inner_texts(), strict=False))
    assert said == {"arrivals": "20", "goodput": "0"}


def test_a_failing_result_jumps_to_its_place_and_a_fault_to_its_contract(page):
    shown = page()
    shown.click("#results .result >> nth=0")
    shown.click("#results .result .jump >> nth=0")
    assert zoomed(shown) == (50, pytest.approx(120, abs=0.2))
    shown.locator("[data-lane=faults] .s-fault").click(position={"x": 3, "y": 4})
    assert shown.locator("details.experiment").get_attribute("open") is not None
    shown.fill("#filter", "quiet")
    assert shown.locator("#list li:visible").count() == 1 and shown.inner_text("#found") == "1 of 6"


def test_hostile_texts_are_texts(page):
    shown = page("hostile")
    assert shown.locator("img").count() == 0 and shown.locator("script").count() == 2
    assert "alert(1)" in shown.inner_text("h1")


@pytest.mark.parametrize("how", [{"width": 360}, {"color_scheme": "dark"}], ids=["360 px", "dark"])
def test_a_small_or_dark_screen_shows_all_of_it(page, how):
    shown = page(**how)
    assert shown.evaluate("document.documentElement.scrollWidth") <= how.get("width", 1280)
    assert shown.locator(".chart canvas").count() == 8
    background = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 100) is ("color_scheme" in how)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_hard_to_reach_or_to_read(page, scheme):
    if not AXE.exists():
        pytest.skip("axe-core is not here: npm install axe-core, or name its axe.min.js by $AXE")
    shown = page(color_scheme=scheme, bypass_csp=True)
    shown.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    shown.evaluate(AXE.read_text())
    found = shown.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(v["id"], v["impact"], v["nodes"][0]["html"]) for v in found] == []
