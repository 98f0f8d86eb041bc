"""What `ardistill plugins new` does: a package that installs, is found, and runs on the digits at once.

`cli.plugins` tells its words.
"""

import re
import shutil
from importlib import resources
from pathlib import Path

import attrs
from jinja2 import Environment, StrictUndefined

import ardistill
from ardistill.config import structure_words
from ardistill.errors import ConfigError
from ardistill.records import API_VERSION
from ardistill.wording import did_you_mean, listed, shown

_RUN = "python -m ardistill run {method} teacher={teacher} {more}quick=true"
COMMANDS = {
    "teacher": _RUN.format(method="method=dd2", teacher="{name}", more=""),
    "tokenizer": "python -m ardistill plugins check tokenizer:{name}",
    "method": _RUN.format(method="method={name}", teacher="var", more=""),
    "metric": _RUN.format(method="'method=onestep*'", teacher="var", more="eval.metrics={name} "),
}
"""By kind, what is to be typed once it is installed."""
_SUMMARIES = {
    "teacher": "each token by its class, its place and the token before",
    "tokenizer": "patches of pixels by the nearest of fixed codes",
    "method": "regression of the tokens that the teacher draws with the same noise",
    "metric": "the share of bright pixels",
}
_NOTES = {
    "teacher": "`quick=true` is far too short for DD2 here: it shows that all fits together, and its student draws no "
    "digits yet. Leave it out to train.",
    "method": "With `quick=true` its student is worse than `onestep*` in one pass: its losses are there to be "
    "replaced.",
}
"""What to make of the command's table."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 60


@attrs.frozen(kw_only=True)
class NewWords:
    """What `ardistill plugins new KIND NAME` takes besides."""

    out: Path | None = None
    """The package's folder; without, ardistill-NAME here."""


def main(words: list[str]) -> int:
    bare = [word for word in words if "=" not in word]
    given = structure_words([word for word in words if "=" in word], NewWords)
    if len(bare) != 2:
        raise ConfigError("give a kind and a name, such as: python -m ardistill plugins new method mine")
    kind, name = bare
    if kind not in COMMANDS:
        raise ConfigError(
            f"{shown(kind)} can't be begun{did_you_mean(kind, COMMANDS) or ';'} known: {listed(COMMANDS)}"
        )
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise ConfigError(
            f"{shown(name)} is no name of a package; give small letters, digits and single hyphens, such as my-{kind}"
        )
    folder = given.out or Path(f"ardistill-{name}")
    files = rendered(kind, name)
    write(folder, files)
    print(f"{folder}/")
    for path in files:
        print(f"  {path}")
    where = folder if folder.is_absolute() else f"./{folder}"  # a bare name would be looked for in the index
    print(f"\npip install -e {where}\npython -m ardistill plugins check {kind}:{name}")
    if kind != "tokenizer":
        print(COMMANDS[kind].format(name=name))
    return 0


def rendered(kind: str, name: str) -> dict[str, str]:
    """The package's files by their paths in its folder."""
    package = "ardistill_" + name.replace("-", "_")
    values = {
        "kind": kind,
        "name": name,
        "package": package,
        "distribution": f"ardistill-{name}",
        "class": "".join(part.capitalize() for part in name.split("-")),
        "summary": _SUMMARIES[kind],
        "command": COMMANDS[kind].format(name=name),
        "note": _NOTES.get(kind, ""),
        "checked": kind != "tokenizer",
        "api": API_VERSION,
        "version": ardistill.__version__,
    }
    # What is written is text and Python, not HTML.
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    places = {
        "pyproject.toml": "common/pyproject.toml.j2",
        "README.md": "common/README.md.j2",
        f"{package}/__init__.py": f"{kind}/__init__.py.j2",
        f"{package}/config.py": f"{kind}/config.py.j2",
        f"{package}/{kind}.py": f"{kind}/{kind}.py.j2",
        f"tests/test_{name.replace('-', '_')}.py": f"{kind}/test_plugin.py.j2",
    }
    root = resources.files("ardistill") / "templates"
    files = {
        path: environment.from_string((root / template).read_text()).render(values)
        for path, template in places.items()
    }
    return {**files, f"{package}/py.typed": ""}


def write(folder: Path, files: dict[str, str]) -> None:
    """All files or none: they are written aside, and renamed. Raises ConfigError where the folder can't be made."""
    aside = folder.with_name(f".{folder.name}.tmp")
    try:
        if folder.exists():
            raise ConfigError(f"{folder} is there already; give another name, or out=DIR")
        for path, text in files.items():
            (aside / path).parent.mkdir(parents=True, exist_ok=True)
            (aside / path).write_text(text)
        aside.rename(folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise ConfigError(f"{folder} can't be made ({error.strerror}); give another out=DIR") from error
