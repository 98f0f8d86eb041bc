"""The columns of the page's table: what each is called, its unit, and what it means."""

from collections.abc import Callable, Sequence

import attrs

from ardistill.evaluation.page.scales import number
from ardistill.evaluation.report import Row
from ardistill.evaluation.tables.table import COLUMNS, RARE, score

MISSING = "–"
LESS, MORE = "↓", "↑"
_WRITE: dict[str, Callable[[float], str]] = {column.field: column.write for column in (*COLUMNS, *RARE)}


@attrs.frozen
class Column:
    """`better` is the way that good figures go; `name` is the heading in full, where its group tells a part of it."""

    field: str
    heading: str
    meaning: str
    unit: str = ""
    better: str = ""
    name: str = ""

    further: bool = False
    """Whether it is a metric of a plugin."""

    def value(self, row: Row) -> float | None:
        return number(row.more.get(self.field) if self.further else getattr(row, self.field))

    def cell(self, row: Row) -> str:
        """The figure without its unit."""
        value = self.value(row)
        write = score if self.further else _WRITE[self.field]
        return MISSING if value is None else write(value).rstrip("x")

    def found(self, rows: Sequence[Row]) -> bool:
        return any(self.value(row) is not None for row in rows)


@attrs.frozen
class Group:
    """Columns under a common heading."""

    heading: str
    columns: tuple[Column, ...]


_REAL = (
    Column("fid", "FID", "Fréchet distance of features to the reference’s", better=LESS),
    Column("gap_real", "gap", "how much of FID’s way from onestep*, 0, to the teacher, 100", "%", MORE),
    Column("fid_test", "test", "FID to real images that were held out", better=LESS),
    Column("kid", "KID", "kernel distance of features to the reference’s", "10⁻³", LESS),
    Column(
        "precision", "prec", "precision: the share of these images that lie among the real ones", better=MORE
    ),
    Column("recall", "rec", "recall: the share of the real images that lie among these", better=MORE),
)
_TEACHER = (
    Column(
        "fid_teacher",
        "FID",
        "Fréchet distance to the teacher’s own images; its own row has a second draw",
        better=LESS,
        name="FID to the teacher",
    ),
    Column(
        "gap_teacher",
        "gap",
        "how much of that distance’s way from onestep*, 0, to the teacher, 100",
        "%",
        MORE,
        name="gap to the teacher",
    ),
    Column("nll", "NLL", "negative log-likelihood under the teacher, in nats a token", "nats", LESS),
    Column(
        "tokens_tv",
        "TV",
        "total variation of each step’s token counts from the teacher’s, mean over steps",
        better=LESS,
    ),
    Column(
        "joint_tv", "joint", "total variation of whole sequences from the teacher’s distribution", better=LESS
    ),
)
_IMAGES = (
    Column("isc", "IS", "inception score", better=MORE),
    Column("accuracy", "acc", "the share of images that are taken for their class", "%", MORE),
    Column("ppl", "PPL", "perceptual path length: how far images move with their noise", better=LESS),
)
COUNT = Column("parameters", "params", "parameters of what draws the tokens, without the tokenizer")
_COST = (
    COUNT,
    Column("seconds_per_image", "batch", "milliseconds an image in a batch, decoding included", "ms", LESS),
    Column("latency", "alone", "milliseconds of one image alone, decoding included", "ms", LESS),
    Column("latency_speedup", "speed", "over the teacher, one image alone", "×", MORE),
)
GROUPS = (
    Group("", (Column("passes", "passes", "evaluations of a transformer for an image"),)),
    Group("to real images", _REAL),
    Group("to the teacher", _TEACHER),
    Group("images", _IMAGES),
    Group("cost", _COST),
)


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """Without the columns, and then the groups, that no row has a figure for; KID says what it is a mean over."""
    kept = (
        Group(
            group.heading, tuple(_of_subsets(column, rows) for column in group.columns if column.found(rows))
        )
        for group in (*GROUPS[:-1], _further(rows), GROUPS[-1])
    )
    return [group for group in kept if group.columns]


def _further(rows: Sequence[Row]) -> Group:
    """Figures of plugins' metrics, whose better way nobody tells."""
    names = dict.fromkeys(name for row in rows for name in row.more)
    return Group(
        "further", tuple(Column(name, name, "by eval.metrics of a plugin", further=True) for name in names)
    )


def _of_subsets(column: Column, rows: Sequence[Row]) -> Column:
    told = {row.protocol.kid for row in rows if row.protocol.kid}
    if column.field != "kid" or not told:
        return column
    over = told.pop() if len(told) == 1 else "subsets that each protocol tells"
    return attrs.evolve(column, meaning=f"{column.meaning}, mean over {over}")


def heading(field: str) -> str:
    """What the page calls a figure: "FID" for fid; other words stay as they are."""
    known = {column.field: column.heading for group in GROUPS for column in group.columns}
    return known.get(field, field.replace("_", " "))
