"""The page's sentences and lists: what it is of, by which protocol, and how to make it again."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import tomli_w

from ardistill.evaluation.page.legend import letters
from ardistill.evaluation.page.scales import number
from ardistill.evaluation.protocol import Protocol
from ardistill.evaluation.report import EVALUATING, PREPARING, Report, Row
from ardistill.evaluation.tables.marks import LABELS, name_of
from ardistill.evaluation.tables.table import duration, per_second


@attrs.frozen
class Told:
    """A protocol in words. `mark` stands beside its rows, "" where all rows share it."""

    mark: str
    rows: tuple[str, ...]
    items: tuple[tuple[str, str], ...]
    hashes: tuple[tuple[str, str], ...]


def title(report: Report) -> str:
    """What the page is of: "dd1 distils var on digits"."""
    names = {part: str(_section(report, part).get("name", "")) for part in ("teacher", "data", "method")}
    student = names["method"] or str(_section(report, "student").get("name", ""))
    if not student or not names["teacher"]:
        return "Evaluation of " + (report.rows[-1].name if report.rows else "nothing")
    verb = "distils" if names["method"] else "beside"
    return f"{student} {verb} {names['teacher']}" + (f" on {names['data']}" if names["data"] else "")


def lede(report: Report) -> list[str]:
    """The few facts under the title."""
    told = []
    if report.rows:
        told.append(f"{report.n:,} images a row against {report.protocol.reference}")
    if report.training_seconds is not None:
        told.append(f"made in {duration(report.training_seconds)}")
    return told


def _section(report: Report, name: str) -> Mapping[str, Any]:
    section = report.config.get(name)
    return section if isinstance(section, Mapping) else {}


def protocols(rows: Sequence[Row]) -> list[Told]:
    """Each protocol once, with the rows measured by it."""
    told = []
    for key, mark in letters(rows).items():
        own = [row for row in rows if row.protocol.key == key]
        seeds = ", ".join(str(seed) for seed in dict.fromkeys(row.protocol.seed for row in own))
        protocol = own[0].protocol
        hashes = [
            ("sha256 of the reference", protocol.reference_sha256),
            ("digest of the features' weights", protocol.features_digest),
        ]
        told.append(
            Told(
                mark,
                tuple(row.name for row in own),
                tuple(_items(protocol, seeds)),
                tuple((name, digest) for name, digest in hashes if digest),
            )
        )
    return told


def _items(protocol: Protocol, seeds: str) -> list[tuple[str, str]]:
    behind = "" if protocol.reference_n is None else f", {protocol.reference_n:,} images"
    images = protocol.reference_images
    known = images is None or images == protocol.reference_n
    against = "" if known else f"against {images:,} images of the reference"
    guidance = ", ".join(
        f"{name.replace('_', '-')} {value:g}" if number(value) is not None else f"{name} {value}"
        for name, value in protocol.guidance.items()
    )
    items = [
        ("protocol", f"{name_of(protocol)} ({protocol.key})"),
        ("images", f"{protocol.n:,} a row, {LABELS[protocol.labels]}, seed {seeds}"),
        ("reference", f"{protocol.reference}{behind}"),
        ("held out", protocol.held_out or "none"),
        ("resizing", protocol.resize),
        ("features", protocol.features),
        ("guidance", guidance or "none"),
        ("decoder", protocol.decoder),
        ("KID", protocol.kid),
        ("precision, recall", f"{protocol.neighbours} nearest neighbours"),
        ("KID, precision and recall", against),
        ("IS", f"over {protocol.splits} splits"),
        ("PPL", protocol.ppl),
    ]
    return [(name, text) for name, text in items if text]


def toml(config: Mapping[str, Any]) -> str:
    """The configuration as config.toml has it; a value that was no number reads "none" as well."""
    return tomli_w.dumps(_plain(config))


def _plain(value: Any) -> Any:
    match value:
        case None:
            return "none"
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def spent(report: Report) -> list[tuple[str, str, str]]:
    """(phase, wall time, work a second), in order; what preparing made a second stands with preparing."""
    rows = []
    for name, seconds in report.seconds.items():
        rate = number(report.throughput.get(name))
        rates = [] if rate is None else [f"{per_second(rate)} images/s"]
        if name == PREPARING:
            rates += [
                f"{per_second(value)} {what.removeprefix(PREPARING).strip()}/s"
                for what, value in report.throughput.items()
                if what.startswith(f"{PREPARING} ")
            ]
        called = f"evaluating: {name.removeprefix(EVALUATING)}" if name.startswith(EVALUATING) else name
        rows.append((called, duration(seconds), ", ".join(rates)))
    return rows


def machine(report: Report) -> list[tuple[str, str]]:
    """Hardware, versions and the date."""
    told = {**report.hardware, **report.versions, "date": report.date}
    return [(str(name), str(value)) for name, value in told.items()]
