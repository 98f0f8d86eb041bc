"""A result as lines and as a table, for a terminal."""

from collections.abc import Iterator

from ardistill.benching.result import Part, Result, Row

COLUMNS = (
    "generator",
    "mode",
    "batch",
    "tokens ms",
    "decode ms",
    "whole ms",
    "speed",
    "images/s",
    "peak GB",
    "of products",
    "weights read",
)
"""Milliseconds are of one image."""


def rows(result: Result) -> list[tuple[str, ...]]:
    return [_cells(row) for row in result.rows]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.mode,
        f"{row.batch}{' (largest)' if row.largest else ''}",
        milliseconds(row.tokens),
        milliseconds(row.decode),
        milliseconds(row.whole),
        "-" if row.speedup is None else f"{row.speedup:.2f}x",
        f"{1 / row.whole.seconds:.4g}",
        "-" if row.peak_bytes is None else f"{row.peak_bytes / 1e9:.2f}",
        percent(row.whole.ceiling),
        percent(row.weights_read),
    )


def milliseconds(part: Part) -> str:
    """Three digits, or all before the point.

    >>> milliseconds(Part(0.0123456, 0.01, 0.02)), milliseconds(Part(1.5, 1.0, 2.0))
    ('12.3', '1500')
    """
    value = 1000 * part.seconds
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share, or that there is none.

    >>> percent(0.1234), percent(0.5), percent(None)
    ('12.3 %', '50.0 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"


def passes(count: int) -> str:
    return f"{count} pass{'' if count == 1 else 'es'}"


def before(result: Result) -> Iterator[str]:
    """What was timed, on what: the lines above the table."""
    machine, best = result.hardware, result.ceiling
    yield f"{machine['device']}, {machine['cpu']}, {machine['threads']} threads; {result.precision}: {result.held}"
    yield (
        f"ceilings measured in this run: {best.flops / 1e12:.4g} TFLOP/s in a product of side {best.side}, "
        f"{best.bytes / 1e9:.4g} GB/s in a copy"
    )
    for each in result.timed:
        yield (
            f"{each.name}: {each.parameters / 1e6:.4g} M parameters, weights {each.weights}; {passes(each.passes)}, "
            f"{each.tokens_flops / 1e9:.4g} GFLOP an image, {each.decode_flops / 1e9:.4g} to decode it"
        )


def after(result: Result) -> Iterator[str]:
    """What the table does not hold: what was left out, and somebody else's figures."""
    for each in result.left_out:
        where = "" if each.batch is None else f" in batches of {each.batch}"
        yield f"left out: {each.name}, {each.mode}{where}: {each.reason}"
    if result.given is None:
        return
    given = result.given
    parts = {"tokens": given.tokens, "whole": given.whole}
    said = ", ".join(f"{part} {seconds:g} s" for part, seconds in parts.items() if seconds is not None)
    yield f"given, not measured here: {given.of}, in batches of {given.batch}: {said} an image"
    for row in result.rows:
        for part, ratio in result.ratio(row).items():
            yield f"  {part}: {row.name}, {row.mode}: {ratio:.3g}x as fast"
