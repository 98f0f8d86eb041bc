"""The figures of the documentation are what docs/make_figures.py draws, and say what they claim to."""

import importlib.util
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
NEAR = 0.6
"""Units of the pictures, of some 300 a panel: what another machine's last digits may move."""


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("make_figures", DOCS / "make_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CELL = re.compile(
    r'<rect [^>]*width="([\d.]+)" height="([\d.]+)" fill="(#\w+)" shape-rendering="crispEdges"/>\n'
)


def areas(drawn):
    """Of a picture's grid cells, by colour. A cell on a border may be of either."""
    found = {}
    for width, height, colour in CELL.findall(drawn):
        found[colour] = found.get(colour, 0) + float(width) * float(height)
    return found


def parted(drawn):
    """What a picture consists of beside its grid and its numbers, and the numbers. Those of colours are no numbers."""
    drawn = CELL.sub("", drawn)
    colours = re.sub(
        r"#\w{6}", lambda found: found[0].translate(str.maketrans("0123456789", "ghijklmnop")), drawn
    )
    return NUMBER.sub("0", colours), torch.tensor([float(number) for number in NUMBER.findall(colours)])


def test_docs_figures_are_what_the_script_draws(made):
    for name, drawn in made.figures().items():
        words, numbers = parted(drawn)
        stored_words, stored_numbers = parted((DOCS / name).read_text())
        assert words == stored_words, f"{name} is out of date; run: python docs/make_figures.py"
        far = (numbers - stored_numbers).abs().max()
        assert far <= NEAR, f"{name} is out of date by {far:g}; run: python docs/make_figures.py"
        assert areas(drawn) == pytest.approx(areas((DOCS / name).read_text()), rel=0.01), name


def test_docs_figures_are_xml_that_asks_for_nothing(made):
    for name in made.figures():
        text = (DOCS / name).read_text()
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not re.search(r"href|url\(|@import|<script", text)


def test_the_areas_of_noise_weigh_what_their_codes_do(made):
    """The first figure's right half: an area's normal weight is its code's probability."""
    side, n = 4.5, 240
    tokens = made.basins(side, n).flatten()
    centres = (torch.arange(n) + 0.5) / n * 2 * side - side
    density = torch.exp(-centres.square() / 2)
    weights = (density[:, None] * density).flatten()
    shares = torch.zeros(len(made.P_V)).index_add(0, tokens, weights / weights.sum())
    torch.testing.assert_close(shares, made.P_V, atol=0.006, rtol=0)


def test_the_paths_end_where_the_map_says(made):
    """The first figure's halves agree: a path of the left one ends in the area of the right one that it starts in."""
    noise = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    ends = made.ends(made.flow_paths(noise)[-1])
    mapped = made.ode_map(noise, made.LOG_P_V, made.CODES_VC, evaluations=200)
    assert (ends == mapped).float().mean() > 0.985


def test_the_gap_brings_the_student_to_the_codes(made):
    """The second figure's right panel: samples that start anywhere come near the codes, and to each of them."""
    start = 0.55 * torch.randn(60, 2, generator=torch.Generator().manual_seed(1))
    paths = made.student_paths(start)
    before, after = (torch.cdist(paths[index], made.CODES_VC).amin(-1).mean() for index in (0, -1))
    assert after < before / 3
    assert len(made.ends(paths[-1]).unique()) == len(made.CODES_VC)
