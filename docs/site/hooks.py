"""What MkDocs lacks to show the same files as GitHub does: the README as the home page, links out of docs/, formulas,
and GitHub's anchors.

A link that leaves docs/ leads to a page of its own, `source/PATH`, made of the file as it is: the site is whole by
itself. Formulas are turned into MathML here, so that nothing is fetched to show them.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
HOME = "README.md"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
CODE = re.compile(r"^(```+).*?^\1`*$|(`+).*?\2", re.DOTALL | re.MULTILINE)
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".md": "markdown"}
_MATH = re.compile(r"(?<![\\$\w])\$(?![\s$])([^$\n]*(?:\n[^$\n]+)*?)(?<![\s\\])\$(?![\d$])").pattern


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.markdown_extensions.append(Formulas())
    config.markdown_extensions.append("toc")
    config.mdx_configs["toc"] = {"permalink": True, "slugify": anchor, "toc_depth": 3}
    fence = {"name": "math", "class": "math", "format": displayed}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def anchor(title: str, separator: str) -> str:
    """A heading's anchor as GitHub makes it.

    >>> anchor("A metric, a callback", "-"), anchor("`sample run=DIR`", "-")
    ('a-metric-a-callback', 'sample-rundir')
    """
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", separator)


# Files outside of docs/.


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the home page, and a page for every file outside of docs/ that a page leads to, however indirectly."""
    files.append(File.generated(config, "index.md", content=led(HOME)))
    waiting = [HOME, *(f"docs/{file.src_uri}" for file in files.documentation_pages() if file.abs_src_path)]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        for target in (outside(path, link) for link in links(ROOT.joinpath(path).read_text())):
            if target is None or target in seen:
                continue
            seen.add(target)
            file = ROOT / target
            if file.suffix == ".md":
                waiting.append(target)
                files.append(File.generated(config, f"source/{target}", content=led(target)))
            elif file.suffix in {".png", ".svg"}:
                files.append(File.generated(config, f"source/{target}", abs_src_path=str(file)))
            else:
                files.append(File.generated(config, f"source/{target}.md", content=shown(target)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    del config, files
    path = f"docs/{page.file.src_uri}"
    return markdown if page.file.generated_by else led(path, markdown)


def links(text: str) -> Iterator[str]:
    """Where a page's links lead, without anchors; those of code are none."""
    for found in LINK.finditer(CODE.sub("", text)):
        yield unquote(found[1])


def outside(path: str, link: str) -> str | None:
    """The file outside of docs/, from the top, that a link of `path` leads to; of a folder what says what it is."""
    target = normpath(PurePosixPath(path).parent / link)
    if ROOT.joinpath(target).is_dir():
        about = (f"{target}/{name}" for name in ("README.md", "__init__.py"))
        target = next((name for name in about if ROOT.joinpath(name).is_file()), target)
    if target == HOME or target.startswith(("docs/", "..")) or not ROOT.joinpath(target).is_file():
        return None  # MkDocs judges what lies in docs/, and names what is not there
    return target


def place(target: str) -> str:
    """Where a file of the repository lies among the site's."""
    if target == HOME:
        return "index.md"
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"source/{target}" if Path(target).suffix in {".md", ".png", ".svg"} else f"source/{target}.md"


def led(path: str, text: str | None = None) -> str:
    """A page's text with its links as the site has them."""
    text = ROOT.joinpath(path).read_text() if text is None else text
    here = PurePosixPath(place(path)).parent

    def moved(found: re.Match[str]) -> str:
        target = normpath(PurePosixPath(path).parent / unquote(found[1]))
        target = outside(path, found[1]) or target
        if not ROOT.joinpath(target).is_file():
            return found[0]
        return relpath(place(target), here) + (found[2] or "")

    kept = [(found.start(), found.end()) for found in CODE.finditer(text)]
    made, last = [], 0
    for start, end in kept:
        made += [LINK.sub(moved, text[last:start]), text[start:end]]
        last = end
    return "".join([*made, LINK.sub(moved, text[last:])])


def shown(path: str) -> str:
    """A file that is no page, as one."""
    text = ROOT.joinpath(path).read_text()
    language = LANGUAGES.get(Path(path).suffix, "text")
    ticks = "`" * (2 + max(map(len, re.findall(r"`+", text)), default=1))
    return f"# {path}\n\n{ticks}{language}\n{text.rstrip()}\n{ticks}\n"


# Formulas.


def displayed(source: str, *_: Any, **__: Any) -> str:
    """A fence named math."""
    return f'<div class="formula">{convert(source, display="block")}</div>'


class _Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str | Element, int, int]:
        del data
        return self.md.htmlStash.store(convert(m[1])), m.start(0), m.end(0)


class Formulas(Extension):
    """`$...$` as MathML; code comes first, and escapes after."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.inlinePatterns.register(_Inline(_MATH, md), "formula", 185)
