"""LlamaGen's DD1 student against numbers recorded from distilled_decoding."""

import math

import pytest
import torch
from ardistill_llamagen.config import PRESETS
from ardistill_llamagen.dd1 import LlamaGenDD1
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig
from ardistill_llamagen.transformer import GPT

from ardistill.protocols import Condition, Guidance
from ardistill.sampling import generate, schedule
from ardistill.schedules import Jumps
from tests.golden import Fixture, check_full_keys, close, load
from tests.llamagen.models import golden_config

OTHERS = {"vq", "fewstep", "combine", "image", "labels", "downsample", "seed", "teacher_seed"}


@pytest.fixture(scope="module")
def golden() -> Fixture:
    return load("dd_llamagen")


@pytest.fixture(scope="module")
def config(golden):
    return golden_config({word: value for word, value in golden.config.items() if word not in OTHERS})


@pytest.fixture(scope="module")
def teacher(golden, config):
    """As the fixture's: the likeliest token (top_k=1), guided by 2."""
    vq = golden.config["vq"]
    tokenizer = LlamaGenTokenizer(
        LlamaGenTokenizerConfig(
            **{word: value for word, value in vq.items() if word != "seed"}, image_size=golden.config["image"]
        )
    )
    load("llamagen_vq").fill(tokenizer)
    model = GPT(config)
    golden.fill(model, keys="teacher_keys", seed="teacher_weight_seed")
    close(tokenizer.codebook, golden["codebook"])
    return LlamaGenTeacher(model, tokenizer, Guidance(scale=2.0, top_k=1))


def student(golden, config, **jumps):
    made = LlamaGenDD1(config, Jumps(**jumps))
    golden.fill(made)
    return made.eval()


class GoldenDraw:
    """The fixture's noise."""

    def __init__(self, golden):
        self.golden = golden

    def __len__(self):
        return 2

    def normal(self, name, *shape):
        assert (name, shape) == ("noise", (256, 8))
        return self.golden["noise"]

    def uniform(self, name, *shape):
        return torch.full((2, *shape), 0.5)


def drawn(golden, teacher, made, words):
    plan = schedule(words, made, teacher.layout)
    latents = generate(plan, made, teacher, Condition(golden["label"]), GoldenDraw(golden))
    image = (teacher.tokenizer.images(teacher.tokenizer.map(latents)) + 1) / 2
    return plan, latents, image


@torch.no_grad()
@pytest.mark.parametrize("start", [0, 85, 255])
def test_both_heads(golden, config, start):
    made = student(golden, config)(golden["fwd_x"], Condition(golden["label"]), start)
    close(made.latents_BLC, golden[f"fwd_t{start}_tokens"])
    if start == 85:
        close(made.logits_BLV, golden["fwd_t85_logits"])


@torch.no_grad()
def test_rows_of_different_starts(golden, config):
    made, starts = student(golden, config), golden["fwd_tmixed"].long()
    assert starts.tolist() == [3, 10]
    close(made(golden["fwd_x"], Condition(golden["label"]), starts).latents_BLC, golden["fwd_tmixed_tokens"])
    for row, start in enumerate(starts.tolist()):
        alone = made(golden["fwd_x"][row, None], Condition(golden["label"][row, None]), start)
        close(alone.latents_BLC[0], golden["fwd_tmixed_tokens"][row])


@pytest.mark.parametrize("case", range(4))
def test_few_steps(golden, config, teacher, case):
    told = golden.config["fewstep"][case]
    made = student(golden, config, starts=tuple(told["t_list"]), split=told["split"])
    for step in range(len(told["t_list"])):
        plan, latents, image = drawn(golden, teacher, made, str(step + 1))
        assert plan.passes == step + 1
        close(latents, golden[f"few{case}_step{step}_seq"])
    close(image, golden[f"few{case}_image"])


@pytest.mark.parametrize("case", range(4))
def test_what_each_step_says(golden, config, case):
    told = golden.config["fewstep"][case]
    made, sequence = student(golden, config), golden["noise"]
    for step, start in enumerate(told["t_list"]):
        state = torch.cat([sequence[:, :start], golden["noise"][:, start:]], dim=1)
        prediction = made.jump(state, Condition(golden["label"]), start)
        with torch.no_grad():
            close(
                made(state, Condition(golden["label"]), start).latents_BLC,
                golden[f"few{case}_step{step}_tokens"],
            )
        close(prediction.latents_BLC[:, start:], golden[f"few{case}_step{step}_tokens"][:, start:])
        assert torch.equal(prediction.latents_BLC[:, :start], sequence[:, :start])
        if (case, step) in {(0, 0), (1, 1)}:
            close(prediction.logits_BLV, golden[f"few{case}_step{step}_logits"])
        sequence = golden[f"few{case}_step{step}_seq"]


@pytest.mark.parametrize("case", range(3))
def test_with_the_teachers_steps(golden, config, teacher, case):
    told = golden.config["combine"][case]
    start, (_, last) = told["start"], told["t_list"]
    words = f"pre-trained-{start + 1}-{last + 1}"
    made = student(golden, config, starts=(0, last), recipes=(f"{words}:{told['split']}",))
    teacher = LlamaGenTeacher(teacher.model, teacher.tokenizer, Guidance(scale=told["cfg"], top_k=1))
    plan, latents, image = drawn(golden, teacher, made, words)
    assert plan.passes == (start > 0) + (last - start) + 1
    close(latents, golden[f"comb{case}_final_seq"])
    close(image, golden[f"comb{case}_image"])


@pytest.mark.parametrize("case", range(3))
def test_what_the_teacher_is_given_and_says(golden, config, teacher, case):
    told, name = golden.config["combine"][case], f"comb{case}"
    start, (_, last) = told["start"], told["t_list"]
    guided = LlamaGenTeacher(teacher.model, teacher.tokenizer, Guidance(scale=told["cfg"]))
    condition, prefix = Condition(golden["label"]), None
    if start:
        made = student(golden, config, split=told["split"])
        _, first, _ = drawn(golden, teacher, made, "1")
        close(first, golden[f"{name}_first_seq"])
        prefix = torch.cdist(first[:, :start], golden["codebook"]).argmin(-1)
        assert torch.equal(prefix, golden[f"{name}_prefix_idx"])
    cursor = guided.start(condition, prefix)
    for step in range(last - start):
        said = cursor.log_probs()[:, 0]
        close(said, golden[f"{name}_teacher_cfglogits"][:, step].log_softmax(-1))
        assert torch.equal(said.argmax(-1), golden[f"{name}_teacher_idx"][:, step])
        cursor.accept(said.argmax(-1, keepdim=True))
    tokens = (
        golden[f"{name}_teacher_idx"]
        if prefix is None
        else torch.cat([prefix, golden[f"{name}_teacher_idx"]], 1)
    )
    state = torch.cat([golden["codebook"][tokens], golden["noise"][:, last:]], dim=1)
    close(state, golden[f"{name}_final_x_in"])
    made = student(golden, config)
    with torch.no_grad():
        close(made(state, Condition(golden["label"]), last).latents_BLC, golden[f"{name}_final_tokens"])


def test_released_keys():
    with torch.device("meta"):
        made = LlamaGenDD1(PRESETS["c2i-B"], Jumps())
    check_full_keys("dd_llamagen_B", made)


def test_released_sizes():
    """The papers' counts (DD1, table 1): 98.3M and 326M."""
    for name, millions in (("c2i-B", 98.32), ("c2i-L", 326.16)):
        with torch.device("meta"):
            made = LlamaGenDD1(PRESETS[name], Jumps())
        assert math.isclose(
            sum(parameter.numel() for parameter in made.parameters()) / 1e6, millions, abs_tol=5e-3
        )
