import base64
import doctest
import io
import math
import pathlib
import re
from html.parser import HTMLParser

import attrs
import numpy as np
import pytest
import torch
from hypothesis import example as tried_with
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ardistill.evaluation.extraction import to_uint8
from ardistill.evaluation.grid import Strip
from ardistill.evaluation.page import Interpolation, page, scales, speeds
from ardistill.evaluation.page.columns import GROUPS
from ardistill.evaluation.page.curves import training_curves
from ardistill.evaluation.page.legend import series
from ardistill.evaluation.page.plots import LEFT, WIDTH
from ardistill.evaluation.page.scales import Scale
from ardistill.evaluation.tables.table import COLUMNS, RARE
from tests.browser import example

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}</style></pre>"
VOID = {"img", "meta", "link", "br", "path"}


class Read(HTMLParser):
    """A page's elements, their attributes, and the text within each; complains about tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))
        if tag not in VOID or (tag == "path" and self.get_starttag_text()[-2:] != "/>"):
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, _, texts in self.open:
            texts.append(data)

    def texts(self, tag, **attributes):
        """Of the elements of that name and those attributes, spaces made single."""
        return [
            " ".join("".join(texts).split())
            for name, found, texts in self.elements
            if name == tag and attributes.items() <= found.items()
        ]


def table(html, start="#figures"):
    """Rows of cells' texts; the results' or, from another `start`, the first table after it."""
    begin = (
        html.index('<table id="figures">') if start == "#figures" else html.index("<table", html.index(start))
    )
    part = html[begin : html.index("</table>", begin)] + "</table>"
    return [
        Read(f"<tr>{row}").texts("th") + Read(f"<tr>{row}").texts("td")
        for row in re.findall(r"<tr[^>]*>(.*?</tr>)", part, re.DOTALL)
    ]


def whole(**changes):
    return page(
        example.report(**changes),
        example.strips(),
        example.COLUMNS,
        example.interpolations(),
        example.journal(),
    )


def told(**changes):
    """Without pictures."""
    return page(example.report(**changes), [], [], journal=example.journal())


@pytest.fixture(scope="module")
def html():
    return whole()


def test_equal_input_gives_equal_bytes_and_a_small_file(html):
    assert whole() == html
    assert len(html.encode()) < 300_000


def test_the_picture_comes_first_and_sections_in_order(html):
    headings = Read(html).texts("h2")
    assert headings == [
        "Samples",
        "Results",
        "FID against time",
        "Training",
        "Latent interpolations",
        "Speed",
        "Protocol",
        "Reproduce",
    ]


def test_nothing_leads_out_of_the_file(html):
    seen = Read(html)
    for name, found, _ in seen.elements:
        assert name not in {"script", "iframe", "object", "base", "form"}
        for attribute in ("src", "href"):
            assert found.get(attribute, "#").startswith(("#", "data:"))
    assert "//" not in re.sub(r"data:image/\w+;base64,[\w+/=]+", "", html)
    assert "url(" not in html
    policy = next(
        e[1]["content"] for e in seen.elements if e[1].get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")


def test_what_is_given_is_text_and_never_markup():
    protocol = attrs.evolve(
        example.PROTOCOL, name=HOSTILE, reference=HOSTILE, resize=HOSTILE, guidance={HOSTILE: HOSTILE}
    )
    rows = [attrs.evolve(row, name=f"{HOSTILE} {row.name}", protocol=protocol) for row in example.rows()]
    rows[1] = attrs.evolve(rows[1], protocol=attrs.evolve(protocol, kid=HOSTILE))
    report = example.report(
        rows=tuple(rows),
        speed=tuple(attrs.evolve(timing, name=f"{HOSTILE} {timing.name}") for timing in example.timings()),
        command=HOSTILE,
        config={name: {"name": HOSTILE, HOSTILE: [HOSTILE]} for name in ("teacher", "data", "method")},
        seconds={HOSTILE: 1.0},
        throughput={HOSTILE: 1.0},
        versions={HOSTILE: HOSTILE},
        hardware={HOSTILE: HOSTILE},
        date=HOSTILE,
    )
    images = torch.zeros(2, 3, 4, 4)
    html = page(
        report,
        [Strip(HOSTILE, images, HOSTILE)],
        [HOSTILE, "1"],
        [Interpolation(HOSTILE, images, HOSTILE)],
        [{"phase": phase, "images": 1, "seconds": 1, HOSTILE: 1.0, "fid": 1} for phase in (HOSTILE, "eval")],
    )
    seen = Read(html)
    assert not [name for name, _, _ in seen.elements if name == "script"]
    assert not [found for _, found, _ in seen.elements if any(name.startswith("on") for name in found)]
    assert len(seen.texts("style")) == 1
    assert "49" not in "".join(seen.texts("figcaption"))
    assert f"{HOSTILE}, class {HOSTILE}" in [f.get("alt") for n, f, _ in seen.elements if n == "img"]
    assert " ".join(HOSTILE.split()) in seen.texts("pre")


def test_every_column_of_the_terminals_table_is_on_the_page():
    fields = [column.field for group in GROUPS for column in group.columns]
    assert len(fields) == len(set(fields))
    assert set(fields) == {column.field for column in (*COLUMNS, *RARE)}
    assert all(column.meaning for group in GROUPS for column in group.columns)


def test_the_table_has_the_rows_figures(html):
    groups, heads, floor, *rows = table(html)
    assert groups == ["", "to real images", "to the teacher", "images", "cost", ""]
    assert [head.split(" ")[0] for head in heads[:5]] == ["generator", "passes", "FID", "gap", "test"]
    assert floor[:3] == ["real, held out", "–", "0.266"]
    assert [row[0] for row in rows] == list(example.NAMES)
    of = dict(zip((head.split(" ")[0] for head in heads), rows[3], strict=True))
    assert (
        of
        | {
            "passes": "1",
            "test": "0.679",
            "KID": "0.900",
            "acc": "97.5",
            "params": "340k",
            "alone": "4.54",
        }
        == of
    )
    assert rows[3][2] == "0.562"
    assert rows[3][-1] == "3.8"


def test_what_was_not_measured_is_a_dash_and_what_nobody_has_no_column():
    rows = [attrs.evolve(row, kid=None, ppl=math.nan, latency=None, tokens_tv=None) for row in example.rows()]
    rows[0] = attrs.evolve(rows[0], latency=0.5)
    _, heads, *found = table(told(rows=tuple(rows), floor=None))
    names = [head.split(" ")[0] for head in heads]
    assert not {"KID", "PPL", "TV", "joint"} & set(names)
    assert [row[names.index("alone")] for row in found] == ["500", "–", "–", "–", "–"]
    assert found[0][0] == "teacher"


def test_rows_of_another_protocol_are_marked_everywhere(html):
    assert "sup" not in {name for name, _, _ in Read(html).elements}
    other = attrs.evolve(example.PROTOCOL, n=50_000, labels="random", reference="statistics of others")
    same_but_seed = attrs.evolve(example.PROTOCOL, seed=9)
    marked = told(rows=example.rows(**{"skip-1": other, "teacher": same_but_seed}))
    seen = Read(marked)
    assert [row[0] for row in table(marked)[3:]] == [
        "teachera",
        "onestep*a",
        "skip-1b",
        "dd1, 1 passa",
        "dd1, 2 passesa",
    ]
    labels = seen.texts("text", **{"class": "label"})
    assert labels == ["4a", "0a", "3b", "1a", "2a"] * 2
    assert seen.texts("h3")[-2:] == [
        "a teacher; onestep*; dd1, 1 pass; dd1, 2 passes",
        "b skip-1",
    ]
    words = seen.texts("dd")
    assert "5,000 a row, classes in turn, seed 9, 1" in words
    assert "50,000 a row, classes drawn uniformly, seed 1" in words
    assert "statistics of others, 5,000 images" in words
    assert any("do not compare" in text for text in seen.texts("p", **{"class": "caution"}))


def pictures(html):
    """(alt, kind, the image) of each <img>."""
    made = []
    for name, found, _ in Read(html).elements:
        if name == "img":
            kind, _, data = found["src"].partition(";base64,")
            image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            made.append((found["alt"], kind, np.asarray(image.convert("RGB"))))
    return made


def test_small_images_are_kept_to_the_byte_with_their_class():
    grey, coloured = example.digits(4, labels=("7", "8")), torch.rand(2, 3, 5, 9) * 2 - 1
    strips = [Strip("real", grey), Strip("student", coloured)]
    found = pictures(page(example.report(), strips, ["7", "8"]))
    assert [alt for alt, _, _ in found] == [f"real, class {z}" for z in "7878"] + [
        "student, class 7",
        "student, class 8",
    ]
    for (_, kind, image_HWC), image_CHW in zip(found, [*grey, *coloured], strict=True):
        assert kind == "data:image/png"
        assert np.array_equal(image_HWC, to_uint8(image_CHW[None])[0].permute(1, 2, 0).numpy())


def test_large_images_are_jpegs_and_near():
    strip = example.strips(lines=1, side=128)[0]
    found = pictures(page(example.report(), [strip], example.COLUMNS))
    assert {kind for _, kind, _ in found} == {"data:image/jpeg"}
    for (_, _, image_HWC), image_CHW in zip(found, strip.images_NCHW, strict=True):
        given_HWC = to_uint8(image_CHW[None])[0].permute(1, 2, 0).numpy()
        assert np.abs(image_HWC.astype(int) - given_HWC).mean() < 3


@pytest.mark.parametrize(("n", "columns"), [(3, ["x", "y"]), (0, ["x"]), (1, [])])
def test_images_that_do_not_fill_lines(n, columns):
    with pytest.raises(ValueError, match="do not fill lines"):
        page(example.report(), [Strip("a", torch.zeros(n, 3, 4, 4))], columns)


def test_interpolations_of_one_path_stand_together(html):
    seen = Read(html)
    assert [text for text in seen.texts("h3") if text.startswith("class")] == [
        "class 3",
        "class 4",
        "class 7",
        "class 8",
    ]
    alts = [found["alt"] for name, found, _ in seen.elements if name == "img" and " of 9" in found["alt"]]
    assert alts[:2] == ["dd1, 1 pass, class 3, 1 of 9", "dd1, 1 pass, class 3, 2 of 9"]
    assert alts[9] == "teacher, same noise, class 3, 1 of 9"
    assert len(alts) == 4 * 2 * 9


def test_the_table_of_speed(html):
    heads, one, *rows = table(html, 'id="speed"')
    assert heads[1:] == [
        "eager with decoding",
        "eager without decoding",
        "compiled with decoding",
        "compiled without decoding",
        "params",
        "peak memory",
    ]
    assert one == ["one image alone"]
    assert rows[3] == [
        "dd1, 1 pass",
        "4.54 4.27–4.99",
        "3.18 2.99–3.50",
        "2.72 2.56–3.00",
        "1.91 1.79–2.10",
        "340k",
        "4 MB",
    ]
    assert [row[0] for row in rows if len(row) == 1] == [
        "batches of 8",
        "batches of 64",
        "the largest batch that fits",
    ]
    assert rows[-1][0] == "dd1, 2 passes 512 at once"


def test_speed_that_was_not_measured_leaves_cells_out():
    eager = [timing for timing in example.timings() if not timing.compiled and timing.decoding]
    eager = [attrs.evolve(timing, peak_bytes=None) for timing in eager if timing.name != "skip-1"]
    extra = attrs.evolve(eager[0], decoding=False)
    heads, _, first, second, *_ = table(told(speed=(*eager, extra)), 'id="speed"')
    assert heads[1:] == ["eager with decoding", "eager without decoding", "params"]
    assert first[2] != "–"
    assert second[2] == "–"


def test_a_report_alone_makes_a_page():
    html = page(example.report(speed=(), rows=example.rows()[:1], config={}, seconds={}), [], [])
    seen = Read(html)
    assert seen.texts("h1") == ["Evaluation of teacher"]
    assert seen.texts("h2") == ["Results", "FID against time", "Protocol", "Reproduce"]
    assert seen.texts("nav") == ["Results Time Protocol Reproduce"]


def test_titles():
    assert Read(told()).texts("h1") == ["dd1 distils var on digits"]
    loaded = {"teacher": {"name": "var"}, "student": {"name": "dd2"}}
    assert Read(told(config=loaded)).texts("h1") == ["dd2 beside var"]


def test_it_can_be_made_again(html):
    seen = Read(html)
    command, config = seen.texts("pre")
    assert command == example.report().command
    assert "[method.lpips]" in config
    assert 'checkpoint = "none"' in config
    assert "trained" not in seen.texts("p", **{"class": "lede"})[0]
    assert "made in 7 m 44 s" in seen.texts("p", **{"class": "lede"})[0]
    took = table(html, "Wall time")
    assert ["preparing", "1 m 01 s", "978 pairs/s"] in took
    assert ["train", "6 m 42 s", "636 images/s"] in took
    assert ["evaluating: teacher", "11.0 s", ""] in took


def test_settings_without_a_value_are_told_as_none():
    config = {"eval": {"lr": None, "steps": [1, None], "path": pathlib.PurePosixPath("a/b")}}
    (config_text,) = Read(told(config=config)).texts("pre")[1:]
    assert config_text == '[eval] lr = "none" steps = [ 1, "none", ] path = "a/b"'


def plots(html, section):
    part = html[html.index(f'<section id="{section}">') :]
    return re.findall(r'aria-label="([^"]*)"', part[: part.index("</section>")])


def test_fid_is_plotted_against_all_times(html):
    assert plots(html, "time") == [
        "In a batch: FID against ms an image",
        "One image alone: FID against ms an image",
        "During training: FID against training, min",
    ]
    tips = Read(html).texts("title")
    assert "dd1, 1 pass: FID 0.562, 0.8 ms" in tips
    assert "teacher: FID 0.305" in tips
    assert tips.count("teacher: FID 0.305, 17.2 ms") == 1


def test_without_evaluations_a_sentence_says_so():
    journal = example.journal(evaluations=0)
    html = page(example.report(), [], [], journal=journal)
    assert len(plots(html, "time")) == 2
    assert any("nothing was evaluated on the way" in text for text in Read(html).texts("p"))


@pytest.mark.parametrize("journal", [(), example.journal()])
def test_no_sentence_says_so_where_there_were_evaluations_or_no_journal_tells(journal):
    html = page(example.report(), [], [], journal=journal)
    assert "nothing was evaluated" not in html
    few = example.report(config=example.report().config | {"eval": {"every_n": 1000}})
    assert ("FID is of 1,000 images" in page(few, [], [], journal=journal)) == bool(journal)


def test_a_line_joins_rows_that_differ_in_their_passes_alone():
    html = page(example.report(rows=example.schedules()), [], [])
    part = html[html.index('<section id="time">') : html.index('<section id="speed">')]
    paths = re.findall(r'class="line s0" d="([^"]*)"', part)
    assert [len(vertices(path)) for path in paths] == [4, 4], "1, 2, 3 and 4 passes, in a batch and alone"
    for path in paths:
        (*_, ys) = zip(*vertices(path), strict=True)
        assert ys == tuple(sorted(ys))
    assert part.count('class="mark dot s0"') == 1 + 2 * len(example.SCHEDULES)
    alone = page(example.report(rows=example.schedules()[5:8]), [], [])
    assert 'class="line' not in alone
    assert "other schedules are points" in alone
    assert "other schedules" not in told()


def test_the_legend_tells_what_kid_is_a_mean_over():
    (meaning,) = (text for text in Read(told()).texts("dd") if text.startswith("kernel distance"))
    assert meaning == f"kernel distance of features to the reference’s, mean over {example.PROTOCOL.kid}"
    other = attrs.evolve(example.PROTOCOL, kid="9 subsets of 10")
    several = Read(told(rows=example.rows(teacher=other))).texts("dd")
    assert (
        "kernel distance of features to the reference’s, mean over subsets that each protocol tells"
        in several
    )
    bare = attrs.evolve(example.PROTOCOL, kid="")
    names = dict.fromkeys(example.NAMES, bare)
    assert "kernel distance of features to the reference’s" in Read(told(rows=example.rows(**names))).texts(
        "dd"
    )


def test_what_a_protocol_differs_in_is_told():
    protocol = attrs.evolve(
        example.PROTOCOL,
        name="adm, but n, features",
        reference_n=50_000,
        reference_images=10_000,
        held_out="sha256 0011223344556677, 500 images",
    )
    words = Read(told(rows=example.rows(**dict.fromkeys(example.NAMES, protocol)))).texts("dd")
    assert f"adm but for n, features ({protocol.key})" in words
    assert "against 10,000 images of the reference" in words
    assert "sha256 0011223344556677, 500 images" in words
    for images in (None, 50_000):
        plain = attrs.evolve(protocol, reference_images=images)
        words = Read(told(rows=example.rows(**dict.fromkeys(example.NAMES, plain)))).texts("dd")
        assert not [text for text in words if text.startswith("against")]


def test_distances_of_fewer_images_are_not_drawn_beside_the_tables():
    few = example.report().config | {"eval": {"every_n": 1000}}
    seen = Read(told(config=few))
    assert not seen.texts("text", **{"class": "named"})
    assert any("FID is of 1,000 images, not 5,000" in text for text in seen.texts("p"))
    assert Read(told()).texts("text", **{"class": "named"}) == ["teacher", "onestep*", "skip-1"]


def test_curves_by_phase_and_value(html):
    assert plots(html, "training") == [
        "student/ce: value against images",
        "student/lpips: value against images",
        "student/gradient norm: value against images",
        "FID: value against images",
        "acc: value against images",
    ]


def test_a_journal_may_hold_anything():
    journal = [
        {},
        {"phase": "train"},
        {"phase": "train", "images": "many", "a": 1.0},
        {"phase": "train", "images": 10, "a": None, "b": math.nan, "c": "text", "d": True, "e": math.inf},
        {"phase": "train", "images": 20, "f": 0.0},
        {"phase": "eval", "images": 20, "fid": None, "seconds": 3},
    ]
    (curves,) = training_curves(journal)
    assert [plot.title for plot in curves.plots] == ["f"]
    page(example.report(), [], [], journal=journal)


def vertices(path):
    return [tuple(map(float, point.split())) for point in path.strip("MZ").split("L")]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=700) | st.lists(st.floats(-1e100, 1e100), min_size=1)
)
@tried_with([math.sin(index**2) for index in range(500)])
def test_long_curves_are_averaged_within_their_shade(values):
    (curves,) = training_curves([{"phase": "p", "images": i, "x": v} for i, v in enumerate(values)])
    (plot,) = curves.plots
    line = vertices(plot.lines[0].path)
    assert len(line) == math.ceil(len(values) / curves.records) <= 160
    assert all(LEFT <= x <= WIDTH for x, _ in line)
    assert bool(plot.areas) == (curves.records > 1)
    for area in plot.areas:
        outline = vertices(area.path)
        least, most = outline[: len(line)], outline[len(line) :][::-1]
        for (x, y), low, high in zip(line, least, most, strict=True):
            assert x == low[0] == high[0]
            assert high[1] - 0.1 <= y <= low[1] + 0.1


near = st.builds(
    lambda value, steps: [value, value * (1 + steps * 2**-52)], st.floats(-1e9, 1e9), st.integers(1, 99)
)
spread = st.lists(
    st.floats(allow_nan=False).map(scales.number).filter(lambda value: value is not None), min_size=1
)


@given(spread | near | st.lists(st.floats(1e-9, 1e9), min_size=1), st.booleans())
def test_scales_hold_their_values_and_few_round_ticks(values, linear):
    scale = Scale.over(values, linear=linear)
    assert all(0 < scale.place(value) < 1 for value in values)
    assert scale.log == (not linear and min(values) > 0 and max(values) >= 8 * min(values))
    ticks = scale.ticks()
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 7
    assert all(-1e-9 <= scale.place(tick) <= 1 + 1e-9 for tick in ticks)


@given(st.floats() | st.none() | st.booleans() | st.text() | st.integers())
def test_numbers_are_finite(value):
    read = scales.number(value)
    if read is not None:
        assert abs(read) <= 1e100
        assert read == pytest.approx(value, abs=1e-99)


def test_scales_examples():
    assert Scale.over([0, 1]).ticks() == [0, 0.25, 0.5, 0.75, 1]
    assert Scale.over([0.3, 2.5]).ticks() == [0.5, 1, 2]
    assert Scale.over([1, 1e8]).ticks()[0] == 1
    assert Scale(1, 100, log=True).place(10) == pytest.approx(0.5)


@pytest.mark.parametrize("module", [scales, speeds])
def test_examples_in_the_docstrings(module):
    tried = doctest.testmod(module)
    assert tried.attempted
    assert not tried.failed


def test_who_is_who():
    made = {each.name: each for each in series(example.rows())}
    assert list(made) == ["teacher", "onestep*", "skip-1", "dd1"]
    assert [each.style for each in made.values()] == ["teacher", "baseline", "baseline", "s0"]
    assert made["onestep*"].shape != made["skip-1"].shape
    assert [row.passes for row in made["dd1"].rows] == [1, 2]
