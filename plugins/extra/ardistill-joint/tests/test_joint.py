"""What is this method's own: a student that samples, the divergence, the guidance network, the two stages."""

from pathlib import Path

import attrs
import pytest
import torch
from ardistill_joint.closing import Closing, ClosingSettings
from ardistill_joint.config import JointConfig
from ardistill_joint.guidance import Guidance
from ardistill_joint.losses import reverse_kl, soft_cross_entropy
from ardistill_joint.method import Joint
from ardistill_joint.student import FlowStudent, rebuild
from hypothesis import given, settings
from hypothesis import strategies as st

import ardistill
from ardistill.errors import ConfigError
from ardistill.noise import Draw
from ardistill.protocols import Condition, RunContext
from ardistill.testing import check_method, check_student, toy_teacher

TINY = JointConfig(
    n_pairs=40,
    collect_batch=20,
    start_images=32,
    start_batch=8,
    guidance_images=16,
    images=48,
    batch=8,
    closing_images=16,
    closing_batch=8,
)
CPU = torch.device("cpu")


def phase_of(joint: Joint, name: str):
    return next(phase for phase in joint.phases() if phase.name == name)


class _Silent:
    def advance(self, done: int, total: int, what: str) -> None: ...


def made(folder: Path, **words: object) -> Joint:
    joint = Joint(attrs.evolve(TINY, **words), toy_teacher(), RunContext(0, folder, CPU))
    joint.prepare(_Silent())
    return joint


def test_the_method_conforms():
    check_method(lambda teacher, context: Joint(TINY, teacher, context), rebuild=rebuild)


def test_the_student_conforms():
    joint = Joint(TINY, toy_teacher(), RunContext(0, Path("nowhere"), CPU))
    check_student(joint.student(), joint.teacher, spec=joint.student_spec, rebuild=rebuild)


def test_a_run_ends_with_a_student_that_draws_and_is_found_again(tmp_path):
    names = ("n_pairs", "start_images", "guidance_images", "images", "closing_images")
    words = {f"method.{name}": getattr(TINY, name) for name in names}
    run = ardistill.distill(
        "joint", "var", out=tmp_path / "run", threads=1, eval={"n": 200, "speed": {"repeats": 0}}, **words
    )
    images = run.student.sample([3, 1], seed=0)
    assert images.shape == (2, 3, 16, 16)
    again = ardistill.load_student(
        "joint", ardistill.load_teacher("var"), checkpoint=tmp_path / "run" / "student.safetensors"
    )
    assert torch.equal(again.sample([3, 1], seed=0), images)
    program = torch.export.load(run.student.export(tmp_path / "joint.pt2")).module()
    teacher, draw = run.student.teacher, Draw(0, "sample", 0, 3)
    noise_BLC = draw.normal("noise", teacher.layout.n_tokens, teacher.tokenizer.codebook.shape[1])
    made_BCHW = program(noise_BLC, draw.indices())
    ours_BCHW = run.student.sample([0, 1, 2], seed=0)
    assert (((made_BCHW + 1) * 127.5).round() - ours_BCHW).abs().max() <= 1


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_tokens_are_distributed_as_the_network_says(seed):
    """The flow's marginal is the network's distribution, here one that reads no noise."""
    n, codes_VC = 4000, torch.randn(5, 2, generator=torch.Generator().manual_seed(seed))
    log_p_V = torch.randn(5, generator=torch.Generator().manual_seed(seed + 1)).log_softmax(-1)
    student = FlowStudent(torch.nn.Identity(), codes_VC, TINY.trajectory)
    noise_n1C = Draw(seed, "noise", 0, n).normal("noise", 1, 2)
    tokens_n = student.tokens(noise_n1C, log_p_V.expand(n, 1, 5))[:, 0]
    shares_V = torch.bincount(tokens_n, minlength=5) / n
    assert (shares_V - log_p_V.exp()).abs().sum() / 2 < 0.06, "of 4,000 draws, and the solver's twenty steps"


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), n_codes=st.integers(2, 9))
def test_its_gradient_is_that_of_the_divergence_of_independent_tokens(seed, n_codes):
    """Where a token depends on no other, the student's conditional distribution is the network's own."""
    generator = torch.Generator().manual_seed(seed)
    logits_BLV = torch.randn(2, 3, n_codes, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher_BLV = torch.randn(2, 3, n_codes, generator=generator, dtype=torch.float64).log_softmax(-1)
    log_p_BLV = logits_BLV.log_softmax(-1)
    divergence = (log_p_BLV.exp() * (log_p_BLV - teacher_BLV)).sum(-1).mean()
    (expected,) = torch.autograd.grad(divergence, logits_BLV, retain_graph=True)
    loss = reverse_kl(log_p_BLV, log_p_BLV.detach(), teacher_BLV, bound=1e9)
    (found,) = torch.autograd.grad(loss, logits_BLV)
    torch.testing.assert_close(found, expected)


def test_the_start_is_least_where_the_student_is_the_teacher():
    target_BLV = torch.tensor([[[0.7, 0.3, 0.0], [0.2, 0.2, 0.6]]]).log()
    weights_L = torch.tensor([1.0, 2.0])
    entropy = torch.distributions.Categorical(logits=target_BLV).entropy()
    least = soft_cross_entropy(target_BLV.clamp_min(-50), target_BLV, weights_L)
    torch.testing.assert_close(least, (entropy * weights_L).sum() / 3)
    uniform_BLV = torch.full_like(target_BLV, 1 / 3).log()
    assert soft_cross_entropy(uniform_BLV, target_BLV, weights_L) > least + 0.1


def test_what_the_teacher_has_filtered_out_is_bounded():
    log_p = torch.tensor([[[0.5, 0.5]]]).log().requires_grad_()
    reverse_kl(log_p, log_p.detach(), torch.tensor([[[0.0, -torch.inf]]]), bound=5.0).backward()
    assert log_p.grad.isfinite().all()
    assert log_p.grad[0, 0, 1] == pytest.approx(2.5), (
        "half of the bound: away from what the teacher never emits"
    )
    assert log_p.grad[0, 0, 0] < 0


def test_the_guidance_network_begins_as_the_teacher():
    teacher = toy_teacher()
    draw = Draw(0, "codes", 0, 5)
    condition = Condition(draw.integers("label", teacher.n_classes))
    codes_VC = teacher.tokenizer.codebook
    prefix_BLC = codes_VC[draw.integers("token", len(codes_VC), teacher.layout.n_tokens)]
    teacher_BLV = teacher.log_probs(condition, prefix_BLC)
    found_BLV = Guidance(teacher)(teacher_BLV, prefix_BLC, condition)
    torch.testing.assert_close(found_BLV.exp(), teacher_BLV.exp())


@pytest.mark.parametrize("width", [0, 8])
def test_the_last_step_is_drawn_given_the_others(tmp_path, width):
    """With a closing block, what it is told of an image decides its last step, and the noise of that step alone."""
    joint = made(tmp_path, closing=ClosingSettings(width=width, heads=2))
    student, layout = joint.network, joint.teacher.layout
    cut = layout.offset(layout.n_steps - 1)
    noise_BLC = Draw(3, "noise", 0, 64).normal(
        "noise", layout.n_tokens, joint.teacher.tokenizer.codebook.shape[1]
    )
    condition = Condition(torch.zeros(64, dtype=torch.int64))
    if width:
        torch.nn.init.normal_(student.closing.logits.weight)
    tokens_BL = student(noise_BLC, condition)
    with torch.no_grad():
        told_BKV = student.log_probs(noise_BLC, condition)
        assert told_BKV.shape[1] == (cut if width else layout.n_tokens)
        if width:
            closed_BMV = student.closing(student.codes_VC[tokens_BL[:, :cut]], condition)
            assert torch.equal(tokens_BL[:, cut:], student.tokens(noise_BLC[:, cut:], closed_BMV))
            other_BMV = student.closing(student.codes_VC[tokens_BL[:, :cut].flip(0)], condition)
            assert not torch.allclose(closed_BMV, other_BMV)
    assert torch.equal(
        tokens_BL[:, : told_BKV.shape[1]], student.tokens(noise_BLC[:, : told_BKV.shape[1]], told_BKV)
    )


def test_a_closing_block_of_an_odd_width_is_refused():
    with pytest.raises(ConfigError, match=r"closing.width=10 is no multiple of closing.heads=4"):
        Closing(ClosingSettings(width=10, heads=4), toy_teacher(), 0)


def test_the_anchor_fades(tmp_path):
    for name, role, images in (("distribution", "student", 48), ("closing", "closing", 16)):
        begin, end = (
            phase_of(made(tmp_path), name).losses(role, Draw(0, name, first, 8))["anchor"]
            for first in (0, images - 8)
        )
        assert begin > 1.6 * end > 0
        none = phase_of(made(tmp_path, anchor=0.0), name).losses(role, Draw(0, name, 0, 8))
        assert none["anchor"] == 0


def test_each_network_learns_in_its_own_updates(tmp_path):
    joint = made(tmp_path)
    start, alone, both, closing = joint.phases()
    assert [phase.role(0) for phase in (start, alone, closing)] == ["student", "guidance", "closing"]
    assert [both.role(update) for update in range(6)] == ["guidance", "guidance", "student"] * 2
    for role, other in (("guidance", joint.network), ("student", joint.guidance)):
        joint.network.requires_grad_(role == "student")
        joint.guidance.requires_grad_(role == "guidance")
        sum(both.losses(role, Draw(0, "x", 0, 8)).values()).backward()
        assert all(parameter.grad is None for parameter in other.parameters())
        assert any(parameter.grad is not None for parameter in both.roles[role].module.parameters())
        for module in (joint.network, joint.guidance):
            module.zero_grad(set_to_none=True)
    joint.network.requires_grad_(True)
    sum(closing.losses("closing", Draw(0, "x", 0, 8)).values()).backward()
    assert all(parameter.grad is not None for parameter in joint.network.closing.parameters())
    assert all(parameter.grad is None for parameter in joint.network.network.parameters())


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ({}, ["start", "guidance", "distribution", "closing"]),
        ({"start_images": 0, "closing_images": 0}, ["guidance", "distribution"]),
        ({"images": 0, "guidance_images": 0}, ["start", "closing"]),
    ],
)
def test_a_stage_of_no_images_is_left_out(tmp_path, words, names):
    assert [phase.name for phase in made(tmp_path, **words).phases()] == names
