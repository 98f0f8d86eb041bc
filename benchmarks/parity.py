"""Whether the models here compute what their official implementations recorded.

    python benchmarks/parity.py DIR [--json]

DIR holds fixtures: NAME.json with NAME.npz, and full_keys/NAME.json.gz (see `golden.py`). Each is one line: its kind,
which the json's words tell, how many of its arrays were checked, how many indices differ, the largest error of a float
and in which array, and the verdict. A fixture fails if an index differs, if a float is off by more than 1e-4 + 1e-4 of
its size, if its keys or weights are not those the json tells, if an array is left that no check asked for, if it lacks
an array or a word that every fixture of its kind has, if an array is empty or holds NaN or infinities, if it can't be
read, and if nothing here knows its kind. Arrays whose name begins with `rnd` depend on torch's generator: a difference
there is told, and fails nothing. full_keys/ are state dicts of released sizes: keys, shapes, dtypes, parameter counts;
in place of arrays their lines count keys.

Exits with 0 if all agree, with 1 if a fixture fails, and with 2 if there is nothing to check. --json prints one object

    {"fixtures": [{"name", "kind", "checked", "keys", "mismatched", "max_error", "worst",
                   "unchecked", "optional_differences", "ok", "reason"}, ...], "ok": bool}

where `checked` counts arrays, `keys` those of a released size (else 0) and `mismatched` indices, `max_error` is a
number, or null where an error is not finite, `worst` names an array, `unchecked` and `optional_differences` are lists
of strings, and `reason` is "" where `ok`.
"""

import io
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import torch
from golden import FixtureError
from parity_checks.verdict import Result, judge, judge_keys

from ardistill.cli.terminal import print_table
from ardistill.wording import printable, shown

COLUMNS = ("fixture", "kind", "arrays", "mismatched", "max error", "worst", "verdict")


def results(folder: Path) -> Iterator[Result]:
    """Every fixture of a folder, by name, then the keys of released sizes. Raises FixtureError if there are none."""
    names = sorted({path.stem for pattern in ("*.json", "*.npz") for path in folder.glob(pattern)})
    keys = sorted((folder / "full_keys").glob("*.json.gz"))
    if not names and not keys:
        what = "holds no fixtures (NAME.json with NAME.npz)" if folder.is_dir() else "is no folder"
        raise FixtureError(f"{shown(str(folder))} {what}; give the folder of the recorded numbers")
    for name in names:
        yield judge(name, folder)
    yield from map(judge_keys, keys)


def as_json(found: Sequence[Result]) -> str:
    """The object that --json prints."""
    records = [attrs.asdict(result) for result in found]
    for record in records:
        record["max_error"] = record["max_error"] if math.isfinite(record["max_error"]) else None
    return json.dumps({"fixtures": records, "ok": all(result.ok for result in found)}, indent=1)


def as_text(found: Sequence[Result]) -> str:
    """The table, the reasons of what failed or may differ, and the totals."""
    text = io.StringIO()  # no terminal, so that the table is plain wherever it is shown
    rows = [
        (
            result.name,
            result.kind,
            f"{result.keys} keys" if result.keys else result.checked,
            result.mismatched,
            f"{result.max_error:.1e}" if result.max_error else "0",
            result.worst or "-",
            "ok" if result.ok else "FAILED",
        )
        for result in found
    ]
    print_table(rows, COLUMNS, text)
    for result in found:
        if result.reason:
            print(printable(f"{result.name}: {result.reason}"), file=text)
        for difference in result.optional_differences:
            print(printable(f"{result.name}: optional: {difference}"), file=text)
    n_keys = sum(result.keys for result in found)
    failed = sum(not result.ok for result in found)
    print(
        f"{len(found)} fixtures, {sum(result.checked for result in found)} arrays, "
        f"{f'{n_keys} keys, ' if n_keys else ''}"
        f"{sum(result.mismatched for result in found)} indices differ, "
        f"largest error {max(result.max_error for result in found):.1e}: "
        f"{f'{failed} FAILED' if failed else 'all agree'}",
        file=text,
    )
    return text.getvalue()


def main(words: Sequence[str]) -> int:
    folders = [word for word in words if word not in ("--json", "-h", "--help")]
    if "-h" in words or "--help" in words:
        print(__doc__)
        return 0
    try:
        if len(folders) != 1 or folders[0].startswith("-"):
            raise FixtureError(
                f"one folder is expected, as in parity.py DIR [--json]; got {shown(' '.join(words))}"
            )
        found = list(results(Path(folders[0])))
    except FixtureError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(as_json(found) if "--json" in words else as_text(found).rstrip())
    return int(not all(result.ok for result in found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    raise SystemExit(main(sys.argv[1:]))
