"""What DD1 learns from, and what of it resumes."""

import shutil
from itertools import pairwise

import attrs
import pytest
import torch
from ardistill_dd1.config import DD1Config
from ardistill_dd1.losses import compared, cross_entropy, token_weights
from ardistill_dd1.lpips_config import LPIPSConfig
from ardistill_dd1.method import DD1, jumps_of
from ardistill_exact.config import SparseConfig, TrunkConfig
from ardistill_exact.teacher import sparse_teacher
from hypothesis import given, settings
from hypothesis import strategies as st

from ardistill.config import Section, section_of, structure_words
from ardistill.errors import ConfigError, DataError
from ardistill.noise import Draw
from ardistill.protocols import Condition, Jumper, RunContext, StepLayout
from ardistill.training.checkpoint import Checkpoints
from ardistill.training.journal import Journal
from ardistill.training.loop import Trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*tensorboard.*")

TEACHER = sparse_teacher(
    SparseConfig(trunk=TrunkConfig(width=16, depth=1, heads=2, fit_updates=10)), lambda _: None
)
TINY = DD1Config(n_pairs=60, images=96, batch=12, starts=(0, 1, 3), lpips=LPIPSConfig(weight=0.5), lr=1e-2)
CPU = torch.device("cpu")


@attrs.frozen(kw_only=True)
class Words:
    method: Section = attrs.field(metadata=section_of("method"))


class Quiet:
    def advance(self, done, total, what):
        pass


def pixels(images_BCHW):
    """A feature network of a kind: the pixels themselves."""
    return images_BCHW.flatten(1), images_BCHW.flatten(1)[:, :1]


def method_of(folder, **changes):
    made = DD1(attrs.evolve(TINY, **changes), TEACHER, RunContext(0, folder, CPU, pixels))
    made.prepare(Quiet())
    return made


def losses(method, start=0, count=12):
    (phase,) = method.phases()
    with torch.no_grad():
        return phase.losses("student", Draw(0, "train/train", start, count))


def trained(folder, method):
    folder.mkdir(exist_ok=True)
    journal = Journal(folder)
    trainer = Trainer(
        method=method,
        seed=0,
        device=CPU,
        checkpoints=Checkpoints(folder / "checkpoints", keep=9),
        every=24,
        journal=journal,
        progress=Quiet(),
    )
    trainer.run()
    journal.close()
    return method.average.state_dict()


def test_the_student_is_of_the_teachers_own_architecture(tmp_path) -> None:
    method = method_of(tmp_path)
    assert isinstance(method.student(), Jumper)
    assert method.student_spec.offer == "exact-dd1"
    assert [jump.start for jump in method.student().jumps] == [0, 1, 3]
    assert {jump.split for jump in method.student().jumps} == {4}


def test_only_tokens_ahead_are_learned(tmp_path) -> None:
    """The loss of a state whose first tokens are data is the one over the others."""
    torch.manual_seed(0)
    logits_BLV, tokens_BL = torch.randn(3, 4, 8), torch.randint(0, 8, (3, 4))
    ahead_BL = torch.tensor([[True] * 4, [False, True, True, True], [False, False, False, True]])
    weights_BL = ahead_BL.float()
    image_weight = weights_BL.sum(1).mean()
    loss = cross_entropy(logits_BLV, tokens_BL, weights_BL, image_weight)
    nats = -logits_BLV.log_softmax(-1).gather(-1, tokens_BL[..., None])[..., 0]
    torch.testing.assert_close(loss, nats[ahead_BL].mean())
    spoiled_BLV = logits_BLV.clone()
    spoiled_BLV[~ahead_BL] = 99 * torch.randn(int((~ahead_BL).sum()), 8)
    torch.testing.assert_close(cross_entropy(spoiled_BLV, tokens_BL, weights_BL, image_weight), loss)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return method_of(tmp_path_factory.mktemp("whole"), balance=0.5, lpips=LPIPSConfig(weight=0.5, share=0.4))


@settings(deadline=None, max_examples=20, derandomize=True)
@given(cuts=st.sets(st.integers(1, 11)), update=st.integers(0, 3))
def test_the_losses_of_shares_make_those_of_the_update(whole, cuts, update):
    """However an update is shared out among processes and micro-batches, states and compared images among them."""
    (phase,), first = whole.phases(), 12 * update
    bounds = [0, *sorted(cuts), 12]
    shares = [Draw(0, "train/train", first + a, b - a, of=(first, 12)) for a, b in pairwise(bounds)]
    with torch.no_grad():
        parts = [
            {key: value * len(s) / 12 for key, value in phase.losses("student", s).items()} for s in shares
        ]
    for name, value in losses(whole, start=first).items():
        torch.testing.assert_close(torch.stack([part[name] for part in parts]).sum(), value)


@given(n=st.integers(1, 300), share=st.floats(0.001, 1), first=st.integers(0, 1000), parts=st.integers(1, 8))
def test_compared_images_are_spread_evenly(n, share, first, parts):
    chosen_B = compared(first + torch.arange(n), torch.tensor(first), n, share)
    assert int(chosen_B.sum()) == max(1, round(share * n))
    counts = [int(part.sum()) for part in chosen_B[: n // parts * parts].view(parts, -1)]
    assert max(counts) - min(counts) <= 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple))
def test_the_balance_is_between_tokens_and_steps(sizes) -> None:
    layout = StepLayout(sizes)
    assert torch.equal(token_weights(layout, 0.0), torch.ones(sum(sizes)))
    alike_L = token_weights(layout, 1.0)
    for step in range(len(sizes)):
        assert alike_L[layout.span(step)].sum() == pytest.approx(1.0)


def test_the_student_reads_data_before_its_timestep_and_noise_after_it(tmp_path) -> None:
    method, seen = method_of(tmp_path), []
    inner = method.network.forward
    method.network.forward = lambda *given: seen.append(given) or inner(*given)
    (phase,) = method.phases()
    draw = Draw(0, "train/train", 0, 48)
    phase.losses("student", draw)
    ((state_BLC, condition, start_B),) = seen
    pair = method.pairs.take(method.epochs.pairs(draw.indices()))
    assert torch.equal(condition.labels_B, pair.condition.labels_B)
    assert set(start_B.tolist()) == {0, 1, 3}
    for row, start in enumerate(start_B.tolist()):
        assert torch.equal(state_BLC[row], pair.state(start, TEACHER.tokenizer.codebook)[row])


@given(st.floats(0.1, 1.0))
def test_the_share_that_starts_from_noise(share: float) -> None:
    method = object.__new__(DD1)
    method.config, method._starts = attrs.evolve(TINY, from_noise=share), torch.tensor([0, 1, 3])
    counts = torch.bincount(method._timesteps(Draw(0, "s", 0, 4000)), minlength=3) / 4000
    expected = torch.tensor([share, (1 - share) / 2, (1 - share) / 2])
    assert (counts - expected).abs().max() < 0.04


def test_both_heads_learn_and_each_from_its_own_loss(tmp_path) -> None:
    for changes, moved in (
        ({}, {"to_logits", "to_latent"}),
        ({"ce": 0.0}, {"to_latent"}),
        ({"lpips": LPIPSConfig(weight=0.0)}, {"to_logits"}),
    ):
        method = method_of(tmp_path / "-".join(sorted(moved)), **changes)
        (phase,) = method.phases()
        method.network.requires_grad_(True)
        torch.stack(list(phase.losses("student", Draw(0, "x", 0, 12)).values())).sum().backward()
        grads = {
            name.partition(".")[0]
            for name, parameter in method.network.named_parameters()
            if parameter.grad is not None and parameter.grad.abs().sum() > 0
        }
        assert {"to_logits", "to_latent"} & grads == moved
        assert {"blocks", "from_latent", "noise_or_data"} <= grads


def test_streamed_pairs_are_those_on_disk(tmp_path) -> None:
    ahead, streamed = method_of(tmp_path / "a"), method_of(tmp_path / "b", stream=True)
    assert ahead.pairs.count == 60
    assert not (tmp_path / "b").exists()
    for start in (0, 12, 84):
        for name, value in losses(ahead, start).items():
            assert torch.equal(value, losses(streamed, start)[name])
    from_folder = method_of(tmp_path / "c", pairs=tmp_path / "a" / "pairs")
    assert torch.equal(losses(from_folder, 24)["ce"], losses(ahead, 24)["ce"])
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("stream", [False, True])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, stream) -> None:
    whole = trained(tmp_path / "a", method_of(tmp_path / "a", stream=stream))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    *_, last = sorted((tmp_path / "b" / "checkpoints").iterdir())
    for newer in sorted((tmp_path / "b" / "checkpoints").iterdir())[2:]:
        shutil.rmtree(newer)
    assert not last.exists()
    resumed = trained(tmp_path / "b", method_of(tmp_path / "b", stream=stream))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    start = method_of(tmp_path / "c").average.state_dict()
    assert any(not torch.equal(whole[key], start[key]) for key in whole)


def test_refusals(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"starts=0,4 .* beyond this student's 4 tokens"):
        method_of(tmp_path, starts=(0, 4))
    with pytest.raises(ConfigError, match=r"starts=2,1 must begin with 0 and increase"):
        method_of(tmp_path, starts=(2, 1))
    with pytest.raises(ConfigError, match="split=5"):
        method_of(tmp_path, split=5)
    assert not list(tmp_path.iterdir())
    method_of(tmp_path / "a")
    with pytest.raises(DataError, match=r"holds 60 pairs, and method.n_pairs=61 .* method.n_pairs=60"):
        method_of(tmp_path / "b", pairs=tmp_path / "a" / "pairs", n_pairs=61)
    with pytest.raises(DataError, match="holds no pairs"):
        method_of(tmp_path / "b", pairs=tmp_path / "nowhere")
    other = sparse_teacher(SparseConfig(n_tokens=5), lambda _: None)
    with pytest.raises(DataError, match="were made otherwise"):
        DD1(attrs.evolve(TINY, pairs=tmp_path / "a" / "pairs"), other, RunContext(0, tmp_path, CPU, pixels))


def test_a_pass_leaves_what_is_before_its_start(tmp_path) -> None:
    student = method_of(tmp_path).student()
    draw = Draw(0, "s", 0, 5)
    noise_BLC, condition = draw.normal("noise", 4, 3), Condition(draw.integers("label", 2))
    for start in range(4):
        made = student.jump(noise_BLC, condition, start)
        assert torch.equal(made.latents_BLC[:, :start], noise_BLC[:, :start])
        assert not torch.isclose(made.latents_BLC[:, start:], noise_BLC[:, start:]).any()


@pytest.mark.parametrize("preset", sorted(DD1Config.presets()))
def test_presets_are_valid_and_of_the_released_students(preset) -> None:
    config = structure_words(["method=dd1", f"method.preset={preset}"], Words).method.settings
    published = {
        "var-d16": ((0, 5), 5),
        "var-d20": ((0, 4), 4),
        "var-d24": ((0, 4), 4),
        "llamagen-b": ((0, 80), 80),
        "llamagen-l": ((0, 80), 130),
    }
    if preset in published:
        assert (config.starts, config.split) == published[preset]
        assert config.lpips.net == "vgg"
    else:
        assert config.images < DD1Config().images


def test_without_timesteps_a_third_of_the_steps_is_the_second() -> None:
    for n_steps, starts in ((1, (0,)), (4, (0, 1)), (10, (0, 3)), (16, (0, 5))):
        jumps = jumps_of(DD1Config(), n_steps)
        assert (jumps.starts, jumps.split) == (starts, n_steps)
