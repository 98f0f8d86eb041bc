"""Every bundled plugin conforms, on the bundled weights and on random networks of other sizes."""

from functools import partial

import pytest
from ardistill_baselines.config import OneStepConfig, SkipConfig
from ardistill_baselines.method import onestep, skip
from ardistill_dd1.config import DD1Config, FlowSettings
from ardistill_dd1.lpips_config import LPIPSConfig
from ardistill_dd1.method import DD1
from ardistill_dd1.pairing import flow_matching
from ardistill_dd2.config import DD2Config, HeadConfig
from ardistill_dd2.method import DD2
from ardistill_dd2.tuning import ancestral
from ardistill_exact.config import DenseConfig, SparseConfig, TrunkConfig
from ardistill_exact.teacher import dense_teacher, sparse_teacher
from ardistill_fidelity.config import DiversityConfig
from ardistill_fidelity.diversity import Diversity
from ardistill_llamagen.dd1 import LlamaGenDD1
from ardistill_profile.callback import Profile
from ardistill_profile.config import ProfileConfig
from ardistill_vqgan.config import TamingConfig
from ardistill_vqgan.quantizer_training import initialise
from ardistill_vqgan.taming import TamingVQGAN

from ardistill.plugins import discover
from ardistill.protocols import Guidance, Jumps
from ardistill.testing import (
    check_callback,
    check_dataset,
    check_features,
    check_method,
    check_metric,
    check_student,
    check_teacher,
    check_tokenizer,
    check_trajectory,
    toy_teacher,
)
from tests.llamagen import models as llamagen
from tests.var import models as var

REGISTRY = discover()
TRUNK = TrunkConfig(width=16, depth=1, heads=2, fit_updates=5)


def bundled(name, data):
    dataset = REGISTRY.load("dataset", data)(None)
    return REGISTRY.load("teacher", name)(REGISTRY.config_class("teacher", name)(), dataset.weights)


def sparse():
    return sparse_teacher(SparseConfig(trunk=TRUNK), lambda _: None)


TEACHERS = {
    "digits-var": partial(bundled, "var", "digits"),
    "digits-llamagen": partial(bundled, "llamagen", "digits"),
    "digit-sums-var": partial(bundled, "var", "digit-sums"),
    "exact-sparse": sparse,
    "exact-dense": lambda: dense_teacher(DenseConfig(side=5, trunk=TRUNK), lambda _: None),
    "random-var": lambda: var.small_teacher(
        Guidance(1.5, 9, 0.8, 0.7), patch_nums=(1, 2, 3), shared_aln=True
    ),
    "random-var-of-panels": lambda: var.small_teacher(patch_nums=(1, 2), panels=2),
    "random-llamagen": lambda: llamagen.small_teacher(Guidance(2.0, top_k=7), cfg_interval=4),
    "toy": toy_teacher,
    "toy-filtered": lambda: toy_teacher((2, 1), n_codes=9, code_width=1, top_k=3, seed=1),
}


@pytest.mark.parametrize("name", TEACHERS)
def test_teachers_conform(name):
    check_teacher(TEACHERS[name])


def test_a_teacher_of_captions_conforms():
    teacher = llamagen.small_teacher(Guidance(1.5), text=True)
    check_teacher(teacher, alignments={"prefix"}, condition=llamagen.captions())


def test_tokenizers_conform():
    config = TamingConfig(
        vocab=20, code_width=4, ch=32, ch_mult=(1, 2), num_res_blocks=1, resolution=8, attn_resolutions=()
    )
    tokenizer = TamingVQGAN(config).eval().requires_grad_(False)
    initialise(tokenizer, seed=0)
    check_tokenizer(tokenizer)


def test_students_with_schedules_of_their_own_conform():
    teacher = var.small_teacher(patch_nums=(1, 2, 3))
    check_student(var.small_student(teacher, starts=(0, 2), split=1, recipes=("pre-trained-2-3:2",)), teacher)
    teacher = llamagen.small_teacher()
    jumps = Jumps(starts=(0, 3), split=2, recipes=("pre-trained-2-4:5",))
    check_student(LlamaGenDD1.of(teacher.model, 3, jumps), teacher)


def test_students_of_a_teachers_own_conform_by_a_factory():
    check_student(lambda teacher: teacher.jumper(Jumps(starts=(0, 2), split=1), 0))


METHODS = {
    "dd1": partial(DD1, DD1Config(n_pairs=40, batch=8, lpips=LPIPSConfig(weight=0.05))),
    "dd1-streamed": partial(DD1, DD1Config(n_pairs=40, batch=8, stream=True, lpips=LPIPSConfig(weight=0.0))),
    "dd2": partial(
        DD2,
        DD2Config(
            head=HeadConfig(width=16, blocks=1),
            tuning_samples=40,
            tune_batch=8,
            batch=8,
            align_guidance_images=16,
            align_images=16,
        ),
    ),
    "onestep*": partial(onestep, OneStepConfig(samples=40)),
    "skip-n": partial(skip, SkipConfig(samples=40, n=2)),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_conform(name):
    check_method(METHODS[name])


@pytest.mark.parametrize("name", ["dd1", "dd2"])
def test_methods_conform_on_a_real_teacher(name):
    check_method(METHODS[name], var.small_teacher(patch_nums=(1, 2)))


@pytest.mark.parametrize("teacher", [None, "random-var"])
def test_trajectories_conform(teacher):
    made = teacher and TEACHERS[teacher]()
    check_trajectory(ancestral, made)
    check_trajectory(flow_matching, made, settings=FlowSettings(evaluations=8), of_noise=True)


@pytest.mark.parametrize("name", ["digits", "digit-sums", "exact-sparse", "exact-dense"])
def test_datasets_and_their_feature_networks_conform(name):
    config = REGISTRY.config_class("dataset", name)
    dataset = REGISTRY.load("dataset", name)(config and config())
    check_dataset(dataset)
    network = REGISTRY.load("features", dataset.features)(dataset.weights)
    check_features(network, dataset.image_shape)


def test_metrics_conform():
    check_metric(partial(Diversity, DiversityConfig()))
    check_metric(partial(Diversity, DiversityConfig()), image_shape=(1, 2, 2), n_classes=1, n_features=1)


def test_callbacks_conform():
    check_callback(partial(Profile, ProfileConfig(skip=2, updates=2)))


def test_every_bundled_metric_and_callback_is_checked():
    own = {(f.offer.kind, f.offer.name) for f in REGISTRY.offers() if f.origin.distribution == "ardistill"}
    assert {each for each in own if each[0] in ("metric", "callback")} == {
        ("metric", "diversity"),
        ("callback", "profile"),
    }
