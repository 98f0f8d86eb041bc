"""The report's page in a real browser: run by `nox -s browser`, which installs Chromium where it may."""

import os
import re
import shutil
from pathlib import Path

import attrs
import pytest

from ardistill.evaluation.page import page
from tests.browser import example

playwright = pytest.importorskip("playwright.sync_api", reason="`nox -s browser` installs playwright")
pytestmark = pytest.mark.browser

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LONG = "a student with a name that is <b>far</b> longer than anybody would give one, 1 pass"


@pytest.fixture(scope="module")
def browser():
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.fail("there is no Chromium; install it, or name it in the variable CHROMIUM")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=found, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pages by name: a run on the digits, and one of large images, long names, two protocols and no figures."""
    folder = tmp_path_factory.mktemp("pages")
    other = attrs.evolve(example.PROTOCOL, n=50_000, reference="statistics-of-others" * 5)
    rows = (*example.rows(**{"skip-1": other}), attrs.evolve(example.rows()[3], name=LONG, kid=None))
    made = {
        "digits": page(
            example.report(),
            example.strips(),
            example.COLUMNS,
            example.interpolations(),
            example.journal(),
        ),
        "large": page(
            example.report(rows=rows, command="python -m ardistill run " + "x" * 500),
            example.strips(lines=1, side=256)[:3],
            example.COLUMNS,
            example.interpolations(15),
            example.journal(1000, 0),
        ),
    }
    for name, html in made.items():
        (folder / f"{name}.html").write_text(html)
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture
def opened(browser, files):
    """Opens a page by name; at the end, it must have asked for nothing outside itself, and complained of nothing."""
    contexts, asked, complaints = [], [], []

    def opening(name, viewport=DESK, **settings):
        context = browser.new_context(viewport=viewport, **settings)
        contexts.append(context)
        shown = context.new_page()
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.goto(files[name].as_uri())
        return shown

    yield opening
    for context in contexts:
        context.close()
    assert not complaints
    assert asked
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


@pytest.mark.parametrize("name", ["digits", "large"])
@pytest.mark.parametrize("scripts", [True, False])
def test_images_tables_and_plots_are_there(opened, name, scripts):
    shown = opened(name, java_script_enabled=scripts)
    wanted = {"digits": 6 * 20 + 8 * 9, "large": 3 * 10 + 8 * 15}[name]
    sizes = shown.evaluate(
        "[...document.images].map(i => [i.alt, i.naturalWidth, i.clientWidth, i.clientHeight])"
    )
    assert len(sizes) == wanted
    for alt, pixels, width, height in sizes:
        assert alt
        assert pixels in {16, 256}
        assert width >= 10
        assert abs(height - width) <= 1
    assert shown.locator("#figures tbody th").all_inner_texts()[1:6] == [
        f"{each}{mark}"
        for each, mark in zip(example.NAMES, ["aabaa", [""] * 5][name == "digits"], strict=True)
    ]
    plots = shown.locator("svg.plot")
    assert plots.count() == {"digits": 3 + 3 + 2, "large": 2 + 3}[name]
    for plot in plots.all():
        box = plot.bounding_box()
        assert box["width"] > 200
        assert box["height"] > 120
        inked = plot.locator("path.line, path.mark").all()
        assert max(path.bounding_box()["width"] for path in inked) > 5


@pytest.mark.parametrize("name", ["digits", "large"])
@pytest.mark.parametrize("width", [320, 390, 800])
def test_no_page_scrolls_sideways_and_wide_parts_do(opened, name, width):
    shown = opened(name, PHONE | {"width": width})
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    table = shown.get_by_role("region", name="Table of results")
    assert table.evaluate("e => e.scrollWidth > e.clientWidth")
    last = shown.locator("#figures tbody tr").last.locator("td").last
    last.scroll_into_view_if_needed()
    box = last.bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= width + 1
    name_box = shown.locator("#figures tbody th").last.bounding_box()
    assert name_box["x"] == pytest.approx(table.bounding_box()["x"], abs=1), (
        "the generator's name stays in sight"
    )
    command = shown.locator("pre.command")
    assert command.evaluate("e => e.scrollWidth <= e.clientWidth")


def channels(colour):
    """(red, green, blue, opacity) of a computed colour."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", colour)]
    return (*numbers, 1.0)[:4]


def luminance(rgb):
    """WCAG 2's relative luminance."""
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (each / 255 for each in rgb[:3])
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    bright, dark = sorted((luminance(channels(one)), luminance(channels(other))), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


COLOURS = """() => {
    const under = e => {
        for (; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if (!/, 0\\)$/.test(colour)) return colour;
        }
        return null;
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode, e = node.parentElement;
        if (!node.data.trim() || e.closest('title')) continue;
        const style = getComputedStyle(e);
        found.push([e instanceof SVGElement ? style.fill : style.color, under(e)]);
    }
    return found;
}"""


def test_the_dark_scheme_is_dark_and_both_are_legible(opened):
    papers = {}
    for scheme in ("light", "dark"):
        shown = opened("large", color_scheme=scheme)
        pairs = {tuple(pair) for pair in shown.evaluate(COLOURS)}
        assert len(pairs) >= 4
        assert all(contrast(*pair) > 4.5 for pair in pairs), {pair: contrast(*pair) for pair in pairs}
        papers[scheme] = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        marks = shown.eval_on_selector_all(
            "svg.plot path.line, svg.plot path.mark", "paths => paths.map(p => getComputedStyle(p).stroke)"
        )
        inks = {ink for ink in marks if ink != papers[scheme]}
        assert inks
        assert all(contrast(ink, papers[scheme]) > 3 for ink in inks)
    light, dark = (luminance(channels(papers[scheme])) for scheme in ("light", "dark"))
    assert light > 0.8
    assert dark < 0.05


def test_the_configuration_opens_without_scripts(opened):
    shown = opened("digits", java_script_enabled=False)
    config = shown.locator("details", has_text="Configuration")
    assert not config.locator("pre").is_visible()
    config.locator("summary").click()
    assert config.locator("pre").is_visible()


def test_a_link_leads_to_its_section(opened):
    shown = opened("digits", reduced_motion="reduce")
    shown.locator("nav").get_by_text("Protocol").click()
    assert shown.evaluate("location.hash") == "#protocol"
    assert shown.locator("#protocol h2").is_visible()
    assert shown.evaluate("scrollY") > 500


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("called", "viewport"), [("desk", DESK), ("phone", PHONE)])
def test_screenshots(opened, tmp_path, scheme, called, viewport):
    folder = Path(os.environ.get("ARDISTILL_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"report-{called}-{scheme}.png"
    opened("digits", viewport, color_scheme=scheme).screenshot(path=path, full_page=True)
    header = path.read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert int.from_bytes(header[16:20], "big") == viewport["width"]
    assert int.from_bytes(header[20:24], "big") > 2000
