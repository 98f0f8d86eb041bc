"""What is called when, counted and left out: by a clock that shows what the work says has passed."""

from time import perf_counter

import pytest
import torch
from torch import nn

from ardistill.benching.assembling import _row
from ardistill.benching.generators import Generator
from ardistill.benching.measuring import Cell, Measured, Wanted, measure
from ardistill.benching.staging import eager, graphed
from ardistill.errors import ConfigError
from ardistill.evaluation.timing.ceilings import Ceilings
from ardistill.evaluation.timing.costs import Cost, cost_of
from ardistill.evaluation.timing.memory import available
from ardistill.evaluation.timing.precision import computing, dtype_of, hold
from ardistill.evaluation.timing.rounds import Bench, Laps
from tests.evaluation.fakes import Silence

CPU = torch.device("cpu")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Fake(nn.Module):
    """Takes draw(batch), tokens(batch) and decode(batch) seconds; up to `fits` images fit into memory."""

    def __init__(self, name, clock, tokens, draw=0.0, told=None, fits=10**9, broken=None):
        super().__init__()
        self.name, self.clock, self.seconds, self.drawing = name, clock, tokens, draw
        self.told, self.fits, self.broken = told, fits, broken
        self.inner = nn.Linear(3, 3)

    def draw(self, batch):
        self.clock.now += self.drawing
        return (torch.ones(batch, 3),)

    def forward(self, x_B3):
        if len(x_B3) > self.fits:
            raise torch.OutOfMemoryError("full")
        if self.told is not None:
            self.told.append((self.name, len(x_B3)))
        self.clock.now += self.seconds(len(x_B3))
        return self.inner(x_B3)

    @property
    def generator(self):
        return Generator(self.name, 1, "given", 12, self.draw, self)


def measured(fakes, clock, decode=lambda x: x, **words):
    given = {"batches": (1, 4), "modes": ("eager",), "repeats": 5, "budget": 1e9}
    backend = words.pop("backend", "eager")
    return measure(
        [each.generator for each in fakes],
        decode,
        fakes,
        torch.float32,
        Wanted(**(given | words)),
        device=CPU,
        progress=Silence(),
        backend=backend,
        clock=clock,
    )


def cells(found):
    return {(cell.generator.name, cell.mode, cell.batch): cell for cell in found.cells}


def test_parts_of_a_call():
    clock = Clock()

    def decode(x):
        clock.now += 0.5
        return x

    found = measured([Fake("one", clock, lambda batch: 0.1 * batch, draw=0.25)], clock, decode)
    for batch in (1, 4):
        laps = cells(found)["one", "eager", batch].laps
        assert len(laps.stages) == 5
        for stages, seconds in zip(laps.stages, laps.seconds, strict=True):
            assert stages == pytest.approx((0.25, 0.1 * batch, 0.5))
            assert seconds == pytest.approx(sum(stages))
    assert found.left_out == ()
    assert found.tokens["one"].flops == 2 * 3 * 3, "of one image"
    assert found.tokens["one"].weight_bytes == (9 + 3) * 4
    assert found.decode.flops == 0


def test_operations_are_those_of_one_image_and_weights_are_read_once_for_all():
    cost = measured([Fake("one", Clock(), lambda _: 1.0)], Clock(), batches=(4,)).tokens["one"]
    assert (cost.flops, cost.weight_bytes) == (2 * 3 * 3, (9 + 3) * 4)


def test_a_speed_is_over_the_teachers_in_the_same_mode_and_batch():
    teacher, student = (Fake(name, Clock(), lambda _: 1.0).generator for name in ("teacher", "student"))

    def cell(generator, mode, batch, seconds, largest=False):
        return Cell(generator, mode, batch, Laps([seconds], [], [(0.0, seconds, 0.0)]), largest)

    cells = (
        cell(teacher, "eager", 1, 8.0),
        cell(student, "eager", 1, 2.0),
        cell(teacher, "graph", 1, 4.0),
        cell(student, "graph", 1, 2.0),
        cell(teacher, "eager", 8, 80.0, largest=True),
        cell(student, "eager", 16, 16.0, largest=True),
        cell(student, "eager", 4, 1.0),
    )
    costs = {"teacher": Cost(0, 0), "student": Cost(0, 0)}
    found = Measured(cells, (), Ceilings(1.0, 1.0, 1, 1), costs, Cost(0, 0), 1.0)
    rows = [_row(each, found) for each in cells]
    assert [row.speedup for row in rows] == [1.0, 4.0, 1.0, 2.0, 1.0, 10.0, None]
    assert rows[5].whole.seconds == 1.0, "of one image"


def test_all_take_turns():
    clock, told = Clock(), []
    fakes = [Fake(name, clock, lambda _: 1.0, told=told) for name in "ab"]
    measured(fakes, clock, batches=(2,), repeats=3)
    assert told == [("a", 2), ("b", 2)] * 6, "counted, timed once, warmed up, three times"


def test_no_round_begins_that_would_end_too_late():
    clock = Clock()
    found = measured([Fake("one", clock, lambda _: 10.0)], clock, batches=(1,), repeats=50, budget=100.0)
    assert len(cells(found)["one", "eager", 1].laps.seconds) == 7, "ten calls, three of them before"
    assert clock.now <= 100.0
    late = Clock()
    found = measured([Fake("one", late, lambda _: 10.0)], late, batches=(1,), repeats=50, budget=5.0)
    assert len(cells(found)["one", "eager", 1].laps.seconds) == 1, "the smallest batch is timed in any case"


def test_batches_that_no_time_is_left_for_are_named():
    clock = Clock()
    fakes = [Fake("slow", clock, lambda batch: 1.0 * batch), Fake("fast", clock, lambda _: 0.01)]
    found = measured(fakes, clock, batches=(1, 2, 1000), repeats=3, budget=60.0)
    assert set(cells(found)) == {(name, "eager", b) for name in ("slow", "fast") for b in (1, 2)} | {
        ("fast", "eager", 1000)
    }
    assert [(each.name, each.batch, each.reason) for each in found.left_out] == [
        ("slow", 1000, "no time was left")
    ]
    assert clock.now <= 60.0


def test_what_does_not_fit_is_named():
    clock = Clock()
    fakes = [Fake("small", clock, lambda _: 1.0), Fake("large", clock, lambda _: 1.0, fits=3)]
    found = measured(fakes, clock)
    assert [(each.name, each.batch, each.reason) for each in found.left_out] == [
        ("large", 4, "it does not fit into memory")
    ]
    assert ("small", "eager", 4) in cells(found)
    with pytest.raises(ConfigError, match="a batch of 1 does not fit into the memory of cpu"):
        measured([Fake("huge", clock, lambda _: 1.0, fits=0)], clock)


@pytest.mark.skipif(available() is None, reason="the system does not tell its memory")
def test_the_largest_batch_of_each():
    clock = Clock()
    fakes = [Fake("roomy", clock, lambda _: 0.1), Fake("tight", clock, lambda _: 0.1, fits=20)]
    found = measured(fakes, clock, largest=True, most=64, repeats=1)
    assert {(name, batch) for (name, _, batch), cell in cells(found).items() if cell.largest} == {
        ("roomy", 64),
        ("tight", 16),
    }
    assert ("tight", "eager", 64) not in cells(found)
    slow = Clock()
    found = measured([Fake("one", slow, lambda batch: batch)], slow, largest=True, most=64, budget=100.0)
    assert cells(found)["one", "eager", 16].largest, (
        "64 would fit, and a call of 16 took a tenth of what was left"
    )


def test_compiled_ones_have_turns_of_their_own():
    clock, before, told = Clock(), [], []

    def backend(graph, _):
        before.append(set(told))
        return graph

    fakes = [Fake("net", clock, lambda _: 1.0, told=told), Fake("other", clock, lambda _: 1.0)]
    found = measured(fakes, clock, modes=("compiled", "eager"), repeats=2, backend=backend)
    assert list(cells(found)) == [
        (name, mode, batch) for batch in (1, 4) for mode in ("compiled", "eager") for name in ("net", "other")
    ]
    assert before[0] == {("net", 1), ("net", 4)}, "all eager ones come before"
    assert found.left_out == ()
    assert all(len(cell.laps.seconds) == 2 for cell in found.cells)


def test_what_can_not_be_compiled_is_named_and_tried_once():
    clock, tries = Clock(), []

    def backend(graph, _):
        tries.append(graph)
        raise RuntimeError("no compiler here\nand more")

    found = measured([Fake("net", clock, lambda _: 1.0)], clock, modes=("eager", "compiled"), backend=backend)
    assert len(tries) == 1
    assert [(each.mode, each.batch) for each in found.left_out] == [("compiled", 1), ("compiled", 4)]
    for each in found.left_out:
        assert "no compiler here" in each.reason
        assert "and more" not in each.reason
    assert {mode for _, mode, _ in cells(found)} == {"eager"}


def test_what_calls_no_network_is_not_compiled():
    clock = Clock()
    bare = Generator("bare", 0, "given", 0, lambda batch: (torch.ones(batch, 3),), lambda x: 2 * x)
    wanted = Wanted((1,), ("eager", "compiled"), 1, 1e9)
    found = measure(
        [bare],
        lambda x: x,
        [],
        torch.float32,
        wanted,
        device=CPU,
        progress=Silence(),
        backend="eager",
        clock=clock,
    )
    assert [each.reason for each in found.left_out] == ["it calls no network"]


def test_ceilings_are_measured():
    best = measured([Fake("one", Clock(), lambda _: 1.0)], perf_counter).ceilings
    assert 1e8 < best.flops < 1e14, "operations a second of a CPU"
    assert 1e8 < best.bytes < 1e13
    assert (best.side, best.copied) == (1024, 1 << 26)


# What is counted.


def test_operations_and_bytes_of_a_network():
    table, first, second = nn.Embedding(10, 8), nn.Linear(8, 16), nn.Linear(16, 16, bias=False)
    tokens_BL = torch.arange(6).reshape(2, 3)
    layers = nn.ModuleList([table, first, second])

    def call():
        return second(first(table(tokens_BL)))

    with torch.no_grad():
        cost, twice = (
            cost_of(call, layers.parameters()),
            cost_of(lambda: (call(), call()), layers.parameters()),
        )
    assert cost.flops == 2 * 6 * (8 * 16 + 16 * 16)
    assert cost.weight_bytes == 4 * (6 * 8 + 8 * 16 + 16 + 16 * 16), (
        "of the table only the rows that are looked up"
    )
    assert (twice.flops, twice.weight_bytes) == (2 * cost.flops, 2 * cost.weight_bytes)


def test_views_read_nothing_and_what_repeats_a_weight_reads_it_once():
    weight = nn.Parameter(torch.ones(4, 8))
    x_3B8 = torch.ones(3, 4, 8)
    with torch.no_grad():
        assert cost_of(lambda: weight.t().reshape(8, 4)[:2], [weight]).weight_bytes == 0
        assert cost_of(lambda: x_3B8 + weight.expand(3, 4, 8), [weight]).weight_bytes == 4 * 32
        assert cost_of(lambda: x_3B8 + weight[:2].repeat(1, 2, 1), [weight]).weight_bytes == 4 * 16
        assert cost_of(lambda: x_3B8 + weight, []).weight_bytes == 0


def test_convolution_and_attention_are_counted():
    conv = nn.Conv2d(3, 4, 3, padding=1)
    q = torch.randn(2, 4, 5, 8)
    with torch.no_grad():
        assert cost_of(lambda: conv(torch.zeros(1, 3, 5, 5)), []).flops == 2 * 25 * 4 * 27
        attend = cost_of(lambda: nn.functional.scaled_dot_product_attention(q, q, q), [])
    assert attend.flops == 2 * (2 * 2 * 4 * 5 * 5 * 8)


# Precision.


def test_precisions():
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    net = nn.Linear(4, 4)
    for name, half in (("fp32", None), ("tf32", None), ("bf16", torch.bfloat16)):
        hold(net, name)
        assert net.weight.dtype == dtype_of(name) == (half or torch.float32)
        with computing(name, CPU):
            assert (matmul.allow_tf32, cudnn.allow_tf32) == (name == "tf32",) * 2
            assert net(torch.ones(1, 4)).dtype == dtype_of(name)
        assert (matmul.allow_tf32, cudnn.allow_tf32) == before


def test_a_deadline_ends_rounds():
    clock = Clock()

    def call():
        clock.now += 3.0

    bench = Bench(CPU, 100, 1, 1e9, clock, Silence(), deadline=20.0)
    assert len(bench.rounds({"one": call}, "timing")["one"].seconds) == 5
    assert clock.now == 18.0


# On a GPU.


@gpu
@pytest.mark.parametrize("modes", [("eager", "graph"), ("compiled", "compiled-graph")])
def test_graphs_give_what_eager_calls_give(modes):
    device = torch.device("cuda")
    net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)).to(device)
    drawn = []

    def draw(batch):
        drawn.append(torch.full((batch, 8), float(len(drawn)), device=device).sin())
        return (drawn[-1],)

    generator = Generator("net", 1, "given", 0, draw, net)
    with torch.no_grad():
        staged = graphed(eager(generator, torch.tanh, 4), device)
        assert staged.peak_bytes > 0
        first, second, third = staged.stages
        for _ in range(3):
            made = third(second(first(None)))
            assert torch.allclose(made, torch.tanh(net(drawn[-1])), atol=1e-5)
        found = measure(
            [generator],
            torch.tanh,
            [net],
            torch.float32,
            Wanted((1, 4), modes, 3, 120.0, largest=True, most=8),
            device=device,
            progress=Silence(),
        )
    assert {(cell.mode, cell.batch) for cell in found.cells} == {
        (mode, b) for mode in modes for b in (1, 4, 8)
    }
    assert found.left_out == ()
