"""Words that change speed and memory: what they may change of the losses, and of the state."""

import math

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ardistill.config import load
from ardistill.config.training import TrainConfig
from ardistill.launch.distil import Job
from ardistill.plugins import discover
from ardistill.protocols import Role
from ardistill.training.blocks import blocks, prepare_blocks
from ardistill.training.faults import TrainingError
from ardistill.training.optimise import Optimiser
from ardistill.training.precision import LossScale
from ardistill.training.prefetch import Prefetch
from ardistill.training.signals import Signals
from ardistill.training.step import Engine, Step
from tests.training.toy import Silent, Toy, train, weights

pytestmark = pytest.mark.filterwarnings("ignore:.*tensorboard.*")

WORDS = {
    "dd1": ["method.n_pairs=64", "method.batch=16", "method.warmup_images=16"],
    "dd2": ["method.tuning_samples=64", "method.batch=16", "method.tune_batch=16"],
}


@pytest.fixture(scope="module", params=["dd1", "dd2"])
def first_losses(request, tmp_path_factory):
    """(engine) -> the losses of the first three updates of each role's first phase, on the digits."""
    folder = tmp_path_factory.mktemp(request.param)
    words = [f"method={request.param}", "teacher=var", "threads=1", "eval.n=50", *WORDS[request.param]]
    config = load(words, registry=discover())

    def losses(engine):
        job = Job.of(config, folder, discover(), Silent())
        job.method.prepare(Silent())
        phases = {name: phase for phase in job.method.phases()[::-1] for name in phase.roles}
        networks = [role.module for phase in phases.values() for role in phase.roles.values()]
        prepare_blocks(networks, compile=engine.compile, checkpointing=engine.checkpointing)
        cpu, told = torch.device("cpu"), []
        step = Step(engine, job.method.modules, 0, cpu, Prefetch(cpu, wanted=engine.prefetch))
        for name, phase in phases.items():
            phase.begin()
            optimiser = Optimiser(phase.roles[name], LossScale() if engine.precision == "fp16" else None)
            with step.prefetch:
                for update in range(3):
                    values, _ = step(phase, name, optimiser, update * phase.batch, Signals(), then=name)
                    told.append({key: float(value) for key, value in values.items()})
        return told

    return losses, losses(Engine())


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch._dynamo looks at it
@pytest.mark.parametrize(
    ("engine", "tolerance"),
    [
        (Engine(checkpointing=True), 0.0),
        (Engine(micro_batch=16), 0.0),
        (Engine(micro_batch=5), 1e-5),
        (Engine(prefetch=False), 0.0),
        (Engine(micro_batch=5, prefetch=False), 1e-5),
        (Engine(precision="bf16"), 0.03),
        (Engine(precision="fp16"), 0.01),
        pytest.param(Engine(compile=True), 1e-4, marks=pytest.mark.slow),
        pytest.param(Engine(compile=True, checkpointing=True), 1e-4, marks=pytest.mark.slow),
    ],
    ids=[
        "checkpointing",
        "micro_batch=batch",
        "micro_batch",
        "no prefetch",
        "micro_batch, no prefetch",
        "bf16",
        "fp16",
        "compile",
        "compile+checkpointing",
    ],
)
def test_the_first_losses_stay_what_they_were(first_losses, engine, tolerance):
    """Relative; 0 is bit for bit."""
    losses, plain = first_losses
    for ours, theirs in zip(losses(engine), plain, strict=True):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            allowed = 10 * tolerance if name == "gradient_norm" else tolerance
            assert ours[name] == pytest.approx(theirs[name], rel=allowed, abs=0), name


@given(
    sizes=st.lists(st.integers(-30, 30), min_size=2, max_size=2),
    clip=st.floats(1e-3, 1e3),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=30)
def test_a_step_is_torchs_clipping_and_its_plain_adamw(sizes, clip, seed):
    """Ours takes one norm for clipping and the log, and AdamW fused: equal to 1e-5, whatever the gradients."""
    rng = torch.Generator().manual_seed(seed)
    ours, theirs = (nn.ParameterList([torch.ones(3, 2), torch.ones(5)]) for _ in range(2))
    role = Role(ours, lr=0.1, betas=(0.8, 0.9), weight_decay=0.2, clip=clip, decay=1.0)
    optimiser = Optimiser(role)
    adam = torch.optim.AdamW(theirs, lr=0.1, betas=(0.8, 0.9), weight_decay=0.2, foreach=False, fused=False)
    for update in range(3):
        for one, other, size in zip(ours, theirs, sizes, strict=True):
            one.grad = torch.randn(one.shape, generator=rng) * 2.0**size
            other.grad = one.grad.clone()
        norm = nn.utils.clip_grad_norm_(theirs, clip)
        adam.step()
        torch.testing.assert_close(optimiser.step(update, 3), norm, rtol=1e-6, atol=0)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_words_are_those_of_the_engine():
    assert {field.name for field in attrs.fields(TrainConfig)} == {
        field.name for field in attrs.fields(Engine) if field.name != "world"
    }


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.single = nn.ModuleList([nn.Linear(4, 4)])
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 4), nn.ModuleList([nn.Linear(4, 4)])[0]) for _ in range(3)
        )

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x).tanh()
        return x


def test_blocks_are_the_entries_that_have_parts_and_keep_every_key():
    network = Deep()
    keys = list(network.state_dict())
    assert blocks(network) == list(network.layers)
    assert blocks(network.single[0]) == [network.single[0]]
    prepare_blocks([network, network.layers[0]], compile=False, checkpointing=True)
    assert list(network.state_dict()) == keys
    assert all(isinstance(layer, nn.Sequential) for layer in network.layers)


def test_checkpointing_runs_a_block_once_more_on_the_way_back_and_not_without_gradients():
    network, calls = Deep(), []
    for layer in network.layers:
        layer[0].register_forward_hook(lambda *_: calls.append(1))
    prepare_blocks([network], compile=False, checkpointing=True)
    with torch.no_grad():
        network(torch.ones(2, 4))
    assert len(calls) == 3
    network(torch.ones(2, 4)).sum().backward()
    assert len(calls) == 9


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_weights_and_the_optimisers_state_stay_float32(tmp_path, precision):
    toy = Toy()
    train(toy, tmp_path / "run", Engine(precision=precision))
    assert {value.dtype for value in weights(toy).values()} == {torch.float32}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_cut_run_is_the_uninterrupted_one_in_any_precision(tmp_path, precision):
    engine = Engine(precision=precision)
    whole = train(Toy(), tmp_path / "whole", engine)

    calls = iter(range(10**6))

    def stop(draw):
        if next(calls) == 25:
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        train(Toy(stop), tmp_path / "cut", engine)
    resumed = train(Toy(), tmp_path / "cut", engine)
    assert all(resumed[key].equal(value) for key, value in whole.items())


def test_a_float16_gradient_that_overflows_is_left_out_and_halves_the_scale():
    role = Toy().phases()[0].roles["a"]
    optimiser = Optimiser(role, LossScale())
    before = [each.clone() for each in role.module.parameters()]
    for each in role.module.parameters():
        each.grad = torch.full_like(each, math.inf)
    optimiser.step(0, 100)
    assert optimiser.scale.factor == LossScale.START / 2
    assert optimiser.updates == 0
    assert all(one.equal(other) for one, other in zip(before, role.module.parameters(), strict=True))
    again = Optimiser(role, LossScale())
    again.load(optimiser.state(), 0)
    assert again.scale.factor == LossScale.START / 2
    Optimiser(role).load(optimiser.state(), 0)  # a run may go on in another precision


def test_a_scale_rises_after_many_good_updates_and_gives_up_where_none_helps():
    scale = LossScale()
    for _ in range(LossScale.PATIENCE):
        scale.judge(True)
    assert scale.factor == 2 * LossScale.START
    while scale.factor > LossScale.LEAST:
        scale.judge(False)
    with pytest.raises(TrainingError, match="overflow whatever the loss is multiplied by"):
        scale.judge(False)


def test_a_gradient_that_is_not_finite_stops_before_a_weight_moves(tmp_path):
    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return g * math.inf

    toy = Toy(lambda draw: 1.0)
    plain, before = toy.losses, weights(toy)
    toy.losses = lambda role, draw: {"fit": Spike.apply(plain(role, draw)["fit"])}
    said = r"the gradient of 0.weight is not finite of role a in phase one at image 0; no weight moved"
    with pytest.raises(TrainingError, match=said):
        train(toy, tmp_path / "run")
    assert all(value.equal(before[key]) for key, value in weights(toy).items())


@pytest.mark.parametrize(
    ("micro_batch", "said"),
    [
        (0, "too small for 8 images at once of role a in phase one at image 0, .* train.micro_batch=4"),
        (5, "5 images .* train.micro_batch=2"),
        (1, "1 images .* train.checkpointing=true"),
    ],
)
def test_too_little_memory_proposes_a_smaller_micro_batch(tmp_path, micro_batch, said):
    def strike(draw):
        raise torch.OutOfMemoryError("CUDA out of memory")

    toy = Toy(strike)
    before = weights(toy)
    with pytest.raises(TrainingError, match=said):
        train(toy, tmp_path / "run", Engine(micro_batch=micro_batch))
    assert all(value.equal(before[key]) for key, value in weights(toy).items())
    assert all(each.grad is None for module in toy.modules.values() for each in module.parameters())
