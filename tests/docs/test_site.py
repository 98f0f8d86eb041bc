"""The documentation as pages: built without a warning, without a dead link, and without a network."""

import functools
import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "docs" / "site" / "mkdocs.yml"
PAGES = sorted((ROOT / "docs").glob("*.md"))
PARTS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "link": "href",
    "source": "src",
    "video": "src",
    "object": "data",
}
"""What a browser fetches by itself, and which attribute says where."""

pytest.importorskip("mkdocs", reason="`nox -s docs` installs the group `docs`")


class Read(HTMLParser):
    """What a page leads to, what it is made of, and which anchors it has."""

    def __init__(self, text):
        super().__init__()
        self.links, self.parts, self.anchors, self.words, self.tags = [], [], set(), [], set()
        self._skipped = 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.add(tag)
        self._skipped += tag in {"script", "style", "pre", "code", "math"}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in PARTS and given.get(PARTS[tag]):
            self.parts.append(given[PARTS[tag]])
        self.parts += re.findall(r"url\((.*?)\)", given.get("style") or "")

    def handle_endtag(self, tag):
        self._skipped -= tag in {"script", "style", "pre", "code", "math"}

    def handle_data(self, data):
        if not self._skipped:
            self.words.append(data)


def build(config, folder):
    """Without --quiet, under which mkdocs counts no warnings."""
    words = ["-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def copied(folder):
    """The repository's pages in a folder of their own, with what they lead to."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in ("ardistill", "benchmarks", "plugins"):
        folder.joinpath(name).symlink_to(ROOT / name)
    for page in ROOT.glob("*.md"):
        shutil.copy(page, folder)
    return folder / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(CONFIG, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


@pytest.fixture(scope="module")
def read(site):
    return {page: Read(page.read_text()) for page in site.rglob("*.html")}


def test_docs_pages_are_all_built(site):
    for page in PAGES:
        assert site.joinpath(f"{page.stem}.html").is_file(), page.name
    assert "Distil image autoregressive models" in site.joinpath("index.html").read_text()
    assert not list(site.rglob("make_*.py"))
    assert not list(site.rglob("mkdocs.yml"))


def test_docs_site_has_no_dead_link(read, site):
    checked = 0
    for page, found in read.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or page.name == "404.html":
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (page.relative_to(site), link)
            assert target.is_relative_to(site), link
            anchor = unquote(parts.fragment)
            if anchor and target.suffix == ".html":
                assert anchor in read[target].anchors, (page.relative_to(site), link)
            checked += 1
    assert checked > 1000


def test_docs_links_outside_of_docs_lead_to_the_files_themselves(read, site):
    page = site / "conformance.html"
    assert "source/ardistill/records.py.html" in read[page].links
    assert "TeacherOffer" in site.joinpath("source", "ardistill", "records.py.html").read_text()
    assert any(link.endswith("CONTRIBUTING.html") for link in read[site / "index.html"].links)


def test_docs_site_asks_for_nothing_outside_itself(read, site):
    for page, found in read.items():
        for part in found.parts:
            assert not re.match(r"(https?:)?//", part), (page.relative_to(site), part)
            if page.name != "404.html" and not part.startswith("data:"):
                assert (page.parent / unquote(urlsplit(part).path)).is_file(), (page.relative_to(site), part)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(https?:)?//|@import", sheet.read_text()), sheet.name


def test_docs_formulas_are_mathml_everywhere(read, site):
    pages = [site / "how-dd1-works.html", site / "how-dd2-works.html", site / "glossary.html"]
    for page in pages:
        assert "math" in read[page].tags
    for page, found in read.items():
        if "source" not in page.relative_to(site).parts:
            assert not re.search(r"\$[^$\s][^$]*\$|\\frac|\\lVert", "".join(found.words)), page.name


def test_docs_lists_are_lists_to_both_readers(site):
    """GitHub begins a list right after a line of text, Python-Markdown does not."""
    for page in site.rglob("*.html"):
        for paragraph in re.findall(r"<p>(.*?)</p>", page.read_text(), re.DOTALL):
            said = re.search(
                r"^(\*|-|1\.) .*", re.sub(r"<code>.*?</code>", "", paragraph, flags=re.DOTALL), re.MULTILINE
            )
            assert not said, (page.relative_to(site), said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gone](gone.md)", "gone.md"),
        ("[gone](../ardistill/gone.py)", "gone.py"),
        ("[gone](dd1.md#gone)", "#gone"),
        ("[gone](../CONTRIBUTING.md#gone)", "#gone"),
    ],
)
def test_docs_site_refuses_dead_links(tmp_path, text, said):
    docs = copied(tmp_path)
    with docs.joinpath("python.md").open("a") as page:
        page.write(f"\n{text}\n")
    done = build(docs / "site" / "mkdocs.yml", tmp_path / "out")
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_docs_site_refuses_a_page_that_nothing_leads_to(tmp_path):
    docs = copied(tmp_path)
    docs.joinpath("lonely.md").write_text("# Lonely\n")
    done = build(docs / "site" / "mkdocs.yml", tmp_path / "out")
    assert done.returncode != 0
    assert "lonely.md" in done.stdout + done.stderr


def test_docs_anchors_are_those_of_github():
    spec = importlib.util.spec_from_file_location("hooks", CONFIG.parent / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    for title, anchor in (
        ("A metric, a callback", "a-metric-a-callback"),
        ("`run DIR...`", "run-dir"),
        ("`method=dd1`", "methoddd1"),
        ("What is read, and what never is", "what-is-read-and-what-never-is"),
        ("Several processes, precision, memory", "several-processes-precision-memory"),
        ("A - B", "a---b"),
    ):
        assert hooks.anchor(title, "-") == anchor
    assert hooks.outside("docs/a.md", "../ardistill/flow.py") == "ardistill/flow.py"
    assert hooks.outside("docs/a.md", "../plugins/ardistill_digits") == "plugins/ardistill_digits/README.md"
    assert hooks.outside("docs/a.md", "../ardistill/cli/") == "ardistill/cli/__init__.py"
    for link in ("dd1.md", "../docs/dd1.md", "../README.md", "../gone.py", "../../else.md"):
        assert hooks.outside("docs/a.md", link) is None


@pytest.mark.browser
def test_docs_site_is_shown_without_a_network(site):
    """In Chromium: nothing is fetched from elsewhere, formulas are drawn, the search finds, phones need not scroll."""
    playwright = pytest.importorskip("playwright.sync_api", reason="`nox -s browser` installs playwright")
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.fail("there is no Chromium; install it, or name it in the variable CHROMIUM")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=site)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{server.server_port}/"
        asked, complaints = [], []
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
            for width in (1280, 390):
                page = browser.new_page(viewport={"width": width, "height": 900})
                page.on("request", lambda request: asked.append(request.url))
                page.on("console", lambda message: complaints.append(message.text))
                page.on("pageerror", lambda error: complaints.append(str(error)))
                for name in (
                    "index",
                    "tutorial",
                    "how-dd1-works",
                    "reference",
                    "dd1",
                    "evaluation",
                    "imagenet",
                ):
                    page.goto(f"{home}{name}.html")
                    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                    assert wide <= 0, (name, width, wide)
                page.goto(f"{home}how-dd1-works.html")
                box = page.locator("math").first.bounding_box()
                assert box["width"] > 5
                assert box["height"] > 5
                assert page.evaluate("document.images[0].naturalWidth") > 600
            page.set_viewport_size({"width": 1280, "height": 900})
            page.goto(f"{home}index.html")
            page.locator("input.md-search__input").fill("posterior")
            page.locator(".md-search-result__item").first.wait_for(timeout=20_000)
            browser.close()
        server.shutdown()
    assert asked
    assert not [url for url in asked if not url.startswith((home, "data:", "blob:"))]
    assert not complaints
