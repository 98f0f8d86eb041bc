"""The papers' figures, as they are shipped."""

from collections import Counter

import pytest
from cattrs import BaseValidationError

from ardistill.errors import ConfigError
from ardistill.evaluation.tables.published import Stated, chosen, published, read

SMALL = """
[sources]
one = {{ cite = "arXiv:1", title = "One", url = "https://arxiv.org/abs/1" }}
[protocols.p]
by = "One"
n = 50_000
cfg = 1.5
[[tables]]
source = "{source}"
place = "table 1"
protocol = "{protocol}"
rows = [{{ model = "M-s", method = "m", passes = 1, fid = {fid}{more} }}]
"""


def small(source="one", protocol="p", fid="2.5", more=""):
    return SMALL.format(source=source, protocol=protocol, fid=fid, more=more)


def only(model, method, passes, source, place="table 1"):
    (row,) = (
        row
        for row in published()
        if (row.figures.model, row.figures.method, row.figures.passes) == (model, method, passes)
        and (row.source.cite, row.place) == (source, place)
    )
    return row


def test_no_row_is_there_twice():
    rows = Counter(
        (row.figures.model, row.figures.method, row.figures.passes, row.where, row.protocol)
        for row in published()
    )
    assert [row for row, times in rows.items() if times > 1] == []
    assert len(rows) == 75, "the README tells how many there are"


@pytest.mark.parametrize("row", published(), ids=lambda row: f"{row.figures.model} {row.figures.method}")
def test_figures_are_plausible(row):
    found = row.figures
    assert 1 < found.fid < 300
    assert found.isc is None or 1 < found.isc < 400
    assert all(share is None or 0 < share < 1 for share in (found.precision, found.recall))
    assert 1 <= found.passes <= 576
    assert found.parameters is None or 5e7 < found.parameters < 4e9
    assert found.seconds is None or 0.01 < found.seconds < 10
    assert row.source.url.startswith("https://")
    assert row.protocol.by
    assert row.protocol.n in {None, 5_000, 50_000}


def test_every_source_and_protocol_is_used():
    assert {row.source.cite for row in published()} == {
        "arXiv:2412.17153",
        "arXiv:2510.21003",
        "arXiv:2404.02905",
        "arXiv:2406.06525",
        "FoundationVision/VAR",
    }
    lines = [row.protocol.line() for row in published()]
    assert len(set(lines)) == len({row.protocol for row in published()}), (
        "protocols that differ read differently"
    )


@pytest.mark.parametrize(
    ("model", "method", "passes", "source", "place", "figures"),
    [
        ("VAR-d16", "dd1", 1, "arXiv:2412.17153", "table 1", (9.94, 193.6, 0.80, 0.37, 327e6, 0.021)),
        ("VAR-d16", "dd2", 1, "arXiv:2510.21003", "table 1", (6.21, 213.0, 0.84, 0.39, 329e6, 0.019)),
        ("LlamaGen-L", "dd2", 1, "arXiv:2510.21003", "table 1", (8.59, 229.1, 0.77, 0.32, 335e6, 0.021)),
        ("LlamaGen-L", "dd1", 2, "arXiv:2412.17153", "table 1", (7.58, 237.5, 0.84, 0.37, 326e6, 0.043)),
        (
            "VAR-d16",
            "dd1 pre-trained-4-6",
            4,
            "arXiv:2412.17153",
            "table 2",
            (5.47, 230.5, 0.84, 0.43, 327e6, 0.062),
        ),
        ("LlamaGen-XL-t2i", "dd1", 2, "arXiv:2412.17153", "table 3", (28.95, None, None, None, 756e6, 0.085)),
        ("VAR", "onestep*", 1, "arXiv:2412.17153", "table 1", (157.5, None, None, None, None, None)),
        ("VAR-d30", "teacher", 10, "arXiv:2404.02905", "table 1", (1.92, 323.1, 0.82, 0.59, 2.0e9, None)),
        ("VAR-d30-re", "teacher", 10, "arXiv:2404.02905", "table 1", (1.73, 350.2, 0.82, 0.60, 2.0e9, None)),
    ],
)
def test_what_the_papers_say(model, method, passes, source, place, figures):
    found = only(model, method, passes, source, place).figures
    assert (
        found.fid,
        found.isc,
        found.precision,
        found.recall,
        found.parameters,
        found.seconds,
    ) == figures


def test_sources_that_disagree_have_a_row_each():
    teachers = chosen("VAR-d16", "teacher")
    assert sorted(row.figures.fid for row in teachers) == [3.30, 3.55, 4.15, 4.19]
    assert len({row.protocol for row in teachers}) == 4
    readme = only("VAR-d16", "teacher", 10, "FoundationVision/VAR", "README").protocol
    assert (readme.n, readme.cfg, readme.top_k, readme.top_p) == (50_000, 1.5, 900, 0.96)


@pytest.mark.parametrize(
    ("model", "place", "passes", "by_cfg"),
    [
        (
            "LlamaGen-XL",
            "table 8",
            256,
            {1.75: (3.391, 227.081, 0.812, 0.542), 2.0: (3.642, 268.779, 0.846, 0.502)},
        ),
        (
            "LlamaGen-XXL",
            "table 8",
            256,
            {1.75: (3.094, 253.609, 0.825, 0.529), 2.0: (3.644, 296.521, 0.857, 0.511)},
        ),
        (
            "LlamaGen-3B",
            "table 8",
            256,
            {
                1.5: (3.050, 222.330, 0.801, 0.575),
                1.75: (3.063, 279.716, 0.843, 0.538),
                2.0: (4.212, 325.150, 0.869, 0.492),
            },
        ),
        (
            "LlamaGen-B-384",
            "table 9",
            576,
            {2.0: (6.437, 157.173, 0.814, 0.456), 2.25: (6.092, 182.538, 0.845, 0.416)},
        ),
        (
            "LlamaGen-3B-384",
            "table 6",
            576,
            {
                1.65: (2.18, 263.33, 0.81, 0.58),
                1.75: (2.32, 280.10, 0.82, 0.56),
                2.0: (2.81, 311.59, 0.84, 0.54),
            },
        ),
    ],
)
def test_llamagen_by_guidance(model, place, passes, by_cfg):
    rows = [row for row in published() if row.figures.model == model and row.place == place]
    found = {row.protocol.cfg: row.figures for row in rows}
    assert {cfg: (f.fid, f.isc, f.precision, f.recall) for cfg, f in found.items()} == by_cfg
    assert {figures.passes for figures in found.values()} == {passes}
    short = model in {"LlamaGen-XL", "LlamaGen-XXL", "LlamaGen-3B"}
    assert {figures.note for figures in found.values()} == ({"50 epochs"} if short else {None})


def test_a_protocol_tells_what_its_source_does_not():
    assert Stated("README", n=5000, cfg=2.0, top_k=0).line() == (
        "5,000 images, cfg 2, top-k off (README; not stated: labels, reference, evaluator, top-p)"
    )
    whole = Stated("README", 50_000, "50 per class", "ADM's", "ADM's", 1.5, 900, 0.96, "rejection sampling")
    assert whole.line() == (
        "50,000 images, 50 per class, reference: ADM's, evaluator: ADM's, cfg 1.5, top-k 900, top-p 0.96, "
        "rejection sampling (README)"
    )


def names(rows):
    return {(row.figures.model, row.figures.method) for row in rows}


def test_a_name_stands_for_its_kind():
    assert chosen() == published()
    assert ("VAR-d16", "dd1 pre-trained-4-6") in names(chosen("VAR-d16", "dd1"))
    assert ("VAR", "onestep*") in names(chosen("VAR-d16")), (
        "what is printed of VAR in general is of VAR-d16 too"
    )
    assert {model for model, _ in names(chosen("VAR"))} >= {"VAR-d16", "VAR-d20", "VAR-d24", "VAR-d30", "VAR"}
    assert names(chosen("LlamaGen-B")) == {
        ("LlamaGen-B", "teacher"),
        ("LlamaGen-B-384", "teacher"),
        ("LlamaGen-B", "dd1"),
        ("LlamaGen", "onestep*"),
    }
    assert {method for _, method in names(chosen(method="skip"))} == {
        "skip-1",
        "skip-2",
        "skip-106",
        "skip-156",
    }
    assert ("VAR-d16", "dd2") not in names(chosen(method="dd1"))


@pytest.mark.parametrize(
    ("model", "method", "told"),
    [
        (
            "VAR-d17",
            None,
            r"nothing published has model='VAR-d17'; known: VAR-d16, VAR-d20, .*LlamaGen-3B-384, .*LlamaGen-XXL-384$",
        ),
        (
            None,
            "dd3",
            r"nothing published has method='dd3'; known: teacher, skip-1, skip-2, onestep\*, dd1, ",
        ),
        ("LlamaGen-B", "dd2", r"published of LlamaGen-B has method='dd2'; known: teacher, onestep\*, dd1$"),
        ("LlamaGen-B", "D" * 200, r"has method='D{59}\.\.\.; known"),
    ],
)
def test_an_unknown_name_is_one_sentence_with_the_known_ones(model, method, told):
    with pytest.raises(ConfigError, match=told) as raised:
        chosen(model, method)
    assert "\n" not in str(raised.value)


def test_reading_is_strict():
    (row,) = read(small())
    assert (row.figures.fid, row.protocol.cfg, row.where) == (2.5, 1.5, "arXiv:1, table 1")
    for wrong in (
        small(source="two"),
        small(protocol="q"),
        small(fid='"2.5"'),
        small(fid="true"),
        small(more=", passses = 2"),
        small(more=", isc = [1]"),
        small().replace("passes = 1", "passes = 1.5"),
        small().replace('by = "One"', ""),
    ):
        with pytest.raises((BaseValidationError, KeyError)):
            read(wrong)
