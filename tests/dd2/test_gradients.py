"""Where DD2's gradients may not go: each of these is a sentence of the paper (section 3.2), and each can fail."""

from pathlib import Path

import pytest
import torch
from ardistill_dd2.config import DD2Config, HeadConfig
from ardistill_dd2.losses import conditional_score_distillation
from ardistill_dd2.method import DD2
from ardistill_exact.config import SparseConfig, TrunkConfig
from ardistill_exact.teacher import sparse_teacher

from ardistill.noise import Draw
from ardistill.protocols import Condition, RunContext
from ardistill.training.optimise import training_only

SMALL = SparseConfig(trunk=TrunkConfig(width=16, depth=1, heads=2, fit_updates=0))


@pytest.fixture(scope="module")
def teacher():
    return sparse_teacher(SMALL, lambda _: None)


def make(teacher, **settings):
    config = DD2Config(head=HeadConfig(width=16, blocks=1), batch=6, **settings)
    method = DD2(config, teacher, RunContext(0, Path("unused"), torch.device("cpu")))
    with torch.no_grad():  # AdaLN-zero starts silent, which would hide every gradient
        for module in method.modules.values():
            for index, parameter in enumerate(module.parameters()):
                parameter.add_(0.05 * Draw(1, "jolt", index, 1).normal("w", *parameter.shape)[0])
    return method


def gradients(method, role):
    """Which modules have a gradient after one update's backward pass, as the loop runs it."""
    phase = method.phases()[-1]
    with training_only(phase.roles[role].module, method.modules):
        sum(phase.losses(role, Draw(0, "g", 0, 6)).values()).backward()
    found = {
        name
        for name, module in method.modules.items()
        if any(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    }
    for module in method.modules.values():
        module.zero_grad()
    return found


@pytest.mark.parametrize("form", ["sid", "dmd"])
@pytest.mark.parametrize("prefix", ["snapped", "continuous"])
def test_the_generators_step_moves_the_generator_alone(teacher, form, prefix):
    method = make(teacher, score_form=form, prefix=prefix)
    assert gradients(method, "generator") == {"generator"}


def test_the_guidance_step_moves_the_guidance_network_alone(teacher):
    assert gradients(make(teacher), "guidance") == {"guidance"}


def test_the_guidance_networks_loss_sees_no_path_to_the_generator_even_with_gradients_on(teacher):
    """The paper's own stop, not the loop's: with every parameter free, the generator still gets nothing."""
    method = make(teacher)
    method.phases()[-1].losses("guidance", Draw(0, "g", 0, 6))["fcs"].backward()
    assert all(p.grad is None for p in method.generator.parameters())
    assert any(p.grad is not None for p in method.guidance.trunk.parameters())


@pytest.mark.parametrize("prefix", ["snapped", "continuous"])
def test_no_gradient_passes_through_the_condition(teacher, prefix):
    """d CSD_i / d q_j is zero for j < i: a later position's score must not pull on what it is conditioned on."""
    method = make(teacher, prefix=prefix)
    seen = {}
    original = method.generator.generate

    def keep(noise_BLC, condition):
        seen["q"] = original(noise_BLC, condition).detach().requires_grad_()
        return seen["q"]

    method.generator.generate = keep
    draw = Draw(0, "c", 0, 6)
    whole = method.phases()[-1].losses("generator", draw)["csd"]
    (gradient_BLC,) = torch.autograd.grad(whole, seen["q"])

    q_BLC = seen["q"].detach()
    codes_VC, unit = method.codes_VC, method.average.unit
    prefix_BLC = q_BLC
    if prefix == "snapped":
        prefix_BLC = codes_VC[torch.cdist(q_BLC, codes_VC).argmin(-1)]
    condition = Condition(draw.integers("label", teacher.n_classes))
    eps_MBLC, t_MBL = method._noising(draw, q_BLC)
    free_BLC = q_BLC.clone().requires_grad_()
    loss = conditional_score_distillation(
        method.guidance,
        method.guidance.features(prefix_BLC, condition).detach(),
        free_BLC,
        eps_MBLC,
        t_MBL,
        teacher.log_probs(condition, prefix_BLC * unit).detach(),
        codes_VC,
        form="sid",
        alpha=1.0,
    )
    (alone_BLC,) = torch.autograd.grad(loss, free_BLC)
    torch.testing.assert_close(gradient_BLC, alone_BLC)


def test_no_gradient_reaches_the_teachers_transformer(teacher):
    """The teacher's distribution is a constant of the step; its closed form alone is differentiated."""
    method = make(teacher)
    asked = []
    original = teacher.log_probs

    def spy(condition, latents_BLC):
        asked.append((torch.is_grad_enabled(), latents_BLC.requires_grad))
        return original(condition, latents_BLC)

    method.teacher = type("Watched", (), {"__getattr__": lambda _, name: getattr(teacher, name)})()
    method.teacher.log_probs = spy
    for role in ("guidance", "generator"):
        method.phases()[-1].losses(role, Draw(0, "t", 0, 6))
    assert asked == [(False, False)], "one call, in the generator's step, without gradients"


def test_sid_differentiates_through_both_scores_and_dmd_through_neither(teacher):
    """SiD's pull changes when the noised point's dependence on q is cut; DMD's does not depend on it at all."""
    method = make(teacher)
    draw = Draw(3, "s", 0, 4)
    q_BLC = draw.normal("q", 4, 3)
    condition = Condition(draw.integers("label", 2))
    features_BLD = method.guidance.features(q_BLC, condition).detach()
    log_p_BLV = teacher.log_probs(condition, q_BLC)
    eps_MBLC, t_MBL = method._noising(draw, q_BLC)

    def pull(form):
        free_BLC = q_BLC.clone().requires_grad_()
        loss = conditional_score_distillation(
            method.guidance,
            features_BLD,
            free_BLC,
            eps_MBLC,
            t_MBL,
            log_p_BLV,
            teacher.tokenizer.codebook,
            form=form,
            alpha=1.0,
        )
        return torch.autograd.grad(loss, free_BLC)[0]

    from ardistill.flow import interpolate, mean_from_velocity, posterior_mean

    x_MBLC = interpolate(q_BLC, eps_MBLC, t_MBL)
    teacher_MBLC = posterior_mean(x_MBLC, t_MBL, log_p_BLV, teacher.tokenizer.codebook)
    guidance_MBLC = mean_from_velocity(x_MBLC, t_MBL, method.guidance.velocity(x_MBLC, t_MBL, features_BLD))
    weight = 1 / ((q_BLC - teacher_MBLC).abs().mean((-2, -1), keepdim=True) + 0.01)
    frozen_BLC = -(weight * (teacher_MBLC - guidance_MBLC)).sum(0) / x_MBLC.numel()
    torch.testing.assert_close(pull("dmd"), frozen_BLC)
    assert (pull("sid") - frozen_BLC).abs().max() > 1e-4
