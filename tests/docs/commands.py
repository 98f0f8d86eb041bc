"""The commands of pages and their markers, as CONTRIBUTING.md tells."""

import re
import shlex
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(
        page for page in (ROOT / "docs").glob("*.md") if page.name != "reference.md"
    ),  # the verbs' --help
    *sorted((ROOT / "plugins" / "extra").glob("*/README.md")),
]
PROGRAMS = ("python", "pip", "nox", "pytest", "torchrun", "tensorboard", "git", "mkdocs", "mkdir", "cd", ".")
SHELL = {"", "bash", "sh", "shell", "console"}
OTHER = {"python", "text", "toml", "json", "math"}
"""What a fence may hold besides commands."""
NEEDS = {"gpu", "weights", "files", "cluster", "network"}
MARKER = re.compile(r"<!-- (needs|takes|tested by): (.*?) -->")
GENERATED = re.compile(r"<!-- /?bench -->")
"""Around what benchmarks/tables.py writes."""
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
VERBS_OF_NO_WORDS = {"plugins", "fetch", "table"}


@attrs.frozen
class Command:
    """`marks` are those of its block or row; one in running text is not `shown`, and never run."""

    page: Path
    line: int
    argv: tuple[str, ...]
    marks: tuple[tuple[str, str], ...] = ()
    shown: bool = True

    @property
    def verb(self):
        """Of `python -m ardistill`, with the words after it; None for other programs."""
        if self.argv[0] == "torchrun":
            module = self.argv.index("-m") if "-m" in self.argv else len(self.argv)
            rest = self.argv[module:]
        else:
            rest = self.argv[1:] if self.argv[0] == "python" else ()
        return (rest[2], list(rest[3:])) if rest[:2] == ("-m", "ardistill") and len(rest) > 2 else None

    def marked(self, *kinds):
        return any(kind in kinds for kind, _ in self.marks)

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}: {shlex.join(self.argv)}"


def split(text):
    """A line of a shell -> the argv of each of its commands, without what is set for them."""
    for part in text.split(" && "):
        argv = shlex.split(part, comments=True)
        while argv and ASSIGNMENT.fullmatch(argv[0]):
            argv.pop(0)
        if argv:
            yield tuple(argv)


def commands(page):
    """All of a page, in its order. Raises ValueError for a marker or a fence that is none."""
    found, marks, fence, block = [], [], None, []
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        where = f"{page.relative_to(ROOT)}:{number}"
        if fence is not None:
            if line.strip() == "```":
                if fence in SHELL:
                    found += in_block(page, block, tuple(marks))
                fence, block, marks = None, [], []
            else:
                block.append((number, line))
        elif line.startswith("```"):
            fence = line[3:].strip()
            if fence not in SHELL | OTHER:
                raise ValueError(f"{where}: a fence of {fence!r}; known: {sorted(SHELL | OTHER)}")
        elif GENERATED.fullmatch(line):
            continue
        elif line.startswith("<!--"):
            if not MARKER.fullmatch(line):
                raise ValueError(f"{where}: {line} is no marker; known: needs, takes, tested by")
            marks += [checked(mark, where) for mark in MARKER.findall(line)]
        elif marks:
            raise ValueError(f"{where}: {marks[-1]} stands before no block")
        else:
            found += in_line(page, number, line, where)
    return found


def checked(mark, where):
    kind, what = mark
    if kind == "needs" and not set(what.split(", ")) <= NEEDS:
        raise ValueError(f"{where}: needs {what!r}; known: {sorted(NEEDS)}")
    if kind == "takes" and not re.fullmatch(r"\d+ (s|min|h)", what):
        raise ValueError(f"{where}: takes {what!r}; write a time such as 5 min")
    if kind == "tested by":
        file, _, name = what.partition("::")
        if f"def {name}(" not in (ROOT / file).read_text():
            raise ValueError(f"{where}: tested by {what}, which is no test")
    return mark


def in_block(page, block, marks):
    joined, first = "", 0
    for number, line in block:
        first = first if joined else number
        joined += line.removesuffix("\\")
        if not line.endswith("\\"):
            try:
                yield from (Command(page, first, argv, marks) for argv in split(joined))
            except ValueError as error:
                raise ValueError(
                    f"{page.relative_to(ROOT)}:{first}: no shell reads {joined!r} ({error})"
                ) from error
            joined = ""


def in_line(page, number, line, where):
    """Commands between backquotes; the first cell of a table's row shows one, and the row has its markers."""
    marks = tuple(checked(mark, where) for mark in MARKER.findall(SPAN.sub("", line)))
    cell = MARKER.sub("", line).split("|")[1].strip() if line.startswith("|") else ""
    for text in SPAN.findall(line):
        for argv in split(text) if text.partition(" ")[0] in PROGRAMS or ASSIGNMENT.match(text) else ():
            command = Command(page, number, argv, marks, shown=cell == f"`{text}`")
            verb = command.verb
            if (
                len(argv) == 1
                or argv[0] not in PROGRAMS
                or (verb and not (verb[1] or verb[0] in VERBS_OF_NO_WORDS))
            ):
                continue  # a mention
            yield command
