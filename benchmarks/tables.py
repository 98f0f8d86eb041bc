"""Writes the tables of speed into benchmarks/README.md and README.md, from the files of benchmarks/results.

    python benchmarks/tables.py            between the comments <!-- bench --> and <!-- /bench --> of both pages
    python benchmarks/tables.py --check    writes nothing, and fails where a page is out of date

Every file is one that `python -m ardistill bench out=FILE.json` wrote. Those of benchmarks/results/training are of
`python benchmarks/training.py out=FILE.json`; their table, of training steps, stands in benchmarks/README.md between
<!-- training --> and <!-- /training -->. Results that `benchmarks/gpu.sh` would measure and that have no file stand as
"not measured".
"""

import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from training_parts import table as steps
from training_parts.result import Result as Steps

from ardistill.benching.result import Result, Row
from ardistill.benching.showing import COLUMNS, milliseconds, rows
from ardistill.errors import ArdistillError

HERE = Path(__file__).parent
RESULTS = HERE / "results"
STEPS = "training"
"""The folder of the results of training steps, and the name of their comments."""
ALONE, MANY = 1, 64
"""The batches that the summary shows."""


def listed(kind: str) -> dict[str, Mapping[str, str]]:
    """The results that gpu.sh measures with a program, "bench" or "benchmarks/training.py": their words by name."""
    words = ["bash", str(HERE / "gpu.sh"), "--list"]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    commands = [command for line in lines if kind in (command := shlex.split(line))]
    given = [dict(word.split("=", 1) for word in command if "=" in word) for command in commands]
    return {Path(each["out"]).stem: each for each in given}


def expected() -> list[str]:
    """Names of the results that gpu.sh measures, in its order; those of training steps are beside them."""
    return list(listed("bench"))


def results(folder: Path) -> Mapping[str, Result | None]:
    """By name: those that are expected, then others; None is what was not measured."""
    found = {path.stem: Result.load(path) for path in sorted(folder.glob("*.json"))}
    return {**dict.fromkeys(expected()), **found}


def table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fair(result: Result, batch: int) -> tuple[Row, Row] | None:
    """The teacher and the student at a batch, in the mode in which the teacher is fastest."""
    at = [row for row in result.rows if row.batch == batch]
    teacher, *others = (each.name for each in result.timed)
    for own in sorted((row for row in at if row.name == teacher), key=lambda row: row.whole.seconds):
        beside = [row for row in at if row.name in others[:1] and row.mode == own.mode]
        if beside:
            return own, beside[0]
    return None


def _pair(result: Result | None, batch: int) -> list[str]:
    found = None if result is None else fair(result, batch)
    if found is None:
        return ["not measured", "", ""]
    own, student = found
    return [
        f"{milliseconds(own.whole)} ({own.mode})",
        milliseconds(student.whole),
        f"{own.whole.seconds / student.whole.seconds:.2f}x",
    ]


def device(result: Result | Steps | None) -> str:
    if result is None:
        return ""
    name = str(result.hardware["device"])
    return f"{result.hardware['cpu']}, {result.hardware['threads']} threads" if name == "cpu" else name


def summary(found: Mapping[str, Result | None]) -> str:
    """One line a result: milliseconds an image, decoding included, of the teacher and its first student."""
    pair = ("teacher ms", "student ms", "speed")
    columns = ["", "device", *(f"{what}, {when}" for when in ("one alone", f"in {MANY}s") for what in pair)]
    cells = [
        [name, device(result), *_pair(result, ALONE), *_pair(result, MANY)] for name, result in found.items()
    ]
    return table(columns, cells)


def in_full(name: str, result: Result | None) -> Iterator[str]:
    """A result's own part of benchmarks/README.md."""
    yield f"### {name}"
    if result is None:
        yield "Not measured."
        return
    versions = ", ".join(f"{what} {version}" for what, version in result.versions.items())
    best = result.ceiling
    yield (
        f"{result.date[:10]}, {device(result)}, {versions}; {result.precision}: {result.held}. Ceilings: "
        f"{best.flops / 1e12:.4g} TFLOP/s, {best.bytes / 1e9:.4g} GB/s. "
        + "; ".join(
            f"{each.name}: {each.parameters / 1e6:.4g} M, weights {each.weights}" for each in result.timed
        )
        + "."
    )
    yield f"```\n{result.command}\n```"
    yield table(COLUMNS, rows(result))
    for each in result.left_out:
        batch = "" if each.batch is None else f", batch {each.batch}"
        yield f"Left out: {each.name}, {each.mode}{batch}: {each.reason}."


def pages(folder: Path) -> Mapping[Path, str]:
    """What stands between the comments of each page."""
    found = results(folder)
    short = summary(found)
    parts = [part for name, result in found.items() for part in in_full(name, result)]
    return {HERE.parent / "README.md": short, HERE / "README.md": "\n\n".join([short, *parts])}


def training(folder: Path) -> str:
    """What stands in benchmarks/README.md about training steps."""
    words = listed("benchmarks/training.py")
    found = steps.results(folder, list(words))
    lines = [
        line
        for name, result in found.items()
        for line in steps.lines(
            name, result, device(result), words[name]["method"].split(",") if name in words else ()
        )
    ]
    told = [steps.told(name, result) for name, result in found.items() if result is not None]
    return "\n\n".join([table(steps.columns(), lines), *told])


def filled(page: str, block: str, name: str = "bench") -> str:
    """The page with the block between its comments. Raises ValueError where it has not one of each."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended or begin in after or end in after:
        raise ValueError(f"a page needs one {begin} and one {end} after it")
    return f"{before}{begin}\n\n{block}\n\n{end}{after}"


def main(words: Sequence[str]) -> int:
    if set(words) - {"--check"}:
        print(f"tables: unknown word {words[0]!r}; known: --check", file=sys.stderr)
        return 2
    try:
        wanted, of_steps = pages(RESULTS), training(RESULTS / STEPS)
    except ArdistillError as error:
        print(f"tables: {error}", file=sys.stderr)
        return error.exit_code
    late = []
    for path, block in wanted.items():
        text = path.read_text()
        made = filled(text, block)
        if path == HERE / "README.md":
            made = filled(made, of_steps, STEPS)
        if made != text:
            late.append(path)
            if not words:
                path.write_text(made)
    for path in late:
        print(f"{path}: {'out of date' if words else 'written'}")
    return 1 if words and late else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
