"""A few of the recorded numbers, kept here so that parity is tested where the fixtures are absent.

Every model has the fixture's sizes and the weights of its rule (`benchmarks/golden.py`); constants are entries of the
fixture's arrays as numpy prints them with six digits ("{:.6g}"), and each test names fixture, array and slice. Students
are shown the first tokens of `fwd_x` alone, the rest being zero, since no recorded entry depends on later ones. VAR's
own numbers, taming's and those of LlamaGen's tokenizer are in tests/var/test_teacher.py, tests/vqgan/test_parity.py and
tests/llamagen/test_tokenizer_parity.py.
"""

import pytest
import torch
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.dd1 import LlamaGenDD1
from ardistill_llamagen.dd1_settings import Jumps as LlamaGenJumps
from ardistill_llamagen.transformer import GPT
from ardistill_var.config import VARConfig, VARTokenizerConfig
from ardistill_var.dd1 import VARDD1
from ardistill_var.dd1_settings import Jumps as VARJumps
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR

from ardistill.protocols import Condition, Guidance
from ardistill.sampling import teacher_tokens
from benchmarks.golden import fill
from tests.golden import close

PATCH_NUMS = (1, 2, 3, 4)
GPT_SIZES = {"dim": 64, "n_layer": 2, "n_head": 4, "num_classes": 10}


def filled(model, seed):
    fill(model, seed)
    return model.eval().requires_grad_(False)


def numbers(text):
    return torch.tensor([float(word) for word in text.split()])


def var_tokenizer():
    """Fixture `var_vqvae`."""
    return filled(VARTokenizer(VARTokenizerConfig(patch_nums=PATCH_NUMS, vocab=64, z_channels=32, ch=32)), 0)


def var_config(**more):
    return VARConfig(depth=2, patch_nums=PATCH_NUMS, vocab=64, code_width=32, num_classes=10, **more)


def test_var_tokenizer():
    tokenizer = var_tokenizer()
    given = (
        "8 33 25 19 23 54 35 0 32 0 10 40 18 3 3 8 1 58 3 6 22 45 51 12 34 51 55 35 1 38"  # given_idx_s*[0]
    )
    codes = tokenizer.codebook[numbers(given).long()][None]
    close(
        tokenizer.quantize.map(codes)[0, ::11, 1, 2], numbers("0.920214 -0.40729 0.695438")
    )  # given_fhat_last
    want = (
        "-0.699064 0.21944 -1 -0.600215 0.100701 -0.0765947 1 -0.145302 0.43872 -0.77379 -0.221434 -0.131558"
    )
    close(tokenizer.decode(codes)[0, :, ::21, 33].flatten(), numbers(want))  # given_image_last


def test_var_with_shared_adaln():
    """Fixture `var_saln`: row 0 of gen_idx; gen_cfglogits_s3[0, 7, :12]; gen_image[0, :, 21, 42]."""
    model, tokenizer = filled(VAR(var_config(shared_aln=True)), 8), var_tokenizer()
    teacher, labels = VARTeacher(model, tokenizer, Guidance(4.0, top_k=1)), Condition(torch.tensor([0]))
    tokens = teacher_tokens(teacher, labels, torch.full((1, 30), 0.5))
    want = "4 15 38 15 15 45 30 44 48 30 30 30 56 30 30 30 30 30 30 30 15 30 30 45 45 56 30 30 30 17"
    assert tokens[0].tolist() == numbers(want).tolist()
    codes = tokenizer.codebook[tokens]
    want = "-0.755054 -0.616253 6.54049 0.497425 2.04242 12.2757 1.74787 -7.69654 -2.39817 -7.7485 -0.415215 13.1794"
    close(teacher.guided_logits(labels, codes)[0, 21, :12], numbers(want))
    close((tokenizer.decode(codes)[0, :, 21, 42] + 1) / 2, numbers("0.207457 1 0.393911"))


def test_llamagen():
    """Fixture `llamagen_c2i`: gen_cfg4_idx[1] is what its own logits find likeliest; gen_cfg4_logits[1, 7, :12]."""
    model = filled(GPT(GPTConfig(vocab_size=128, block_size=16, **GPT_SIZES)), 0)
    tokens = numbers("5 27 5 27 10 114 27 48 80 27 48 80 27 48 122 99").long()[None]
    labels = Condition(torch.tensor([9]))
    cond, null = (model(tokens, labels, torch.tensor([dropped])) for dropped in (False, True))
    guided = null + 4 * (cond - null)
    assert torch.equal(guided.argmax(-1), tokens)
    want = "-1.62437 0.718276 1.03996 -1.09486 -0.437218 2.53544 -1.19699 0.0138549 -3.68157 0.139218 3.28051 -1.81085"
    close(guided[0, 7, :12], numbers(want))


VAR_LATENTS = """
0.0205375 0.106549 -0.938836 0.25101 0.224126 1.12444 0.215029 -0.552115 1.78253 -0.680405 -0.0313481 0.0836611 -0.27696
-0.0111815 0.0223184 -0.424518 -0.547958 -0.973546 -0.0509336 0.562666 -0.513876 0.174719 1.23244 0.537653 -1.02488
-0.0986091 -0.419908 -0.578708 0.354791 0.150008 0.699203 -1.84579

0.108758 -0.237922 -0.161595 1.39413 -0.762303 -0.229412 -0.934377 -1.60001 -0.709969 0.82562 -0.0276692 0.967152
-0.0446026 -0.0406395 -0.4147 -1.12261 0.683293 0.338894 -1.20532 -0.259479 -0.173147 -0.025875 1.17441 -1.30317
0.088654 -0.135756 -1.43592 0.554727 -0.578948 1.12607 -1.83399 0.48456
"""


@pytest.mark.parametrize(
    ("start", "head", "want"),
    [
        (0, "logits_BLV", "0.649159 -1.07915 1.00383 -0.970796 -1.26669 -2.33201"
         " -0.706678 -0.231245 0.916347 -1.66921 -1.6106 -1.93457"),
        (1, "latents_BLC", "-0.112172 1.383 -2.11745 -2.39553 -0.390689 1.57532"
         " 0.650962 0.479774 -0.383823 -1.63133 0.155821 3.10706"),
    ],
)  # fmt: skip
def test_dd1_of_var(start, head, want):
    """Fixture `dd_var`: fwd_x[0, :2] -> fwd_t0_logits and fwd_t1_tokens, [0, :2, :6]."""
    student = filled(VARDD1(var_config(), VARJumps()), 2)
    latents = torch.zeros(1, 30, 32)
    latents[0, :2] = numbers(VAR_LATENTS).view(2, 32)
    made = getattr(student(latents, Condition(torch.tensor([3])), start), head)
    close(made[0, :2, :6].flatten(), numbers(want))


@pytest.mark.parametrize(
    ("start", "head", "want"),
    [
        (0, "latents_BLC", "1.83284 -0.230392 -2.09361 -0.618776 0.665999 1.62157 -0.683203 -0.853816"
         " 0.402328 -0.429001 -1.22872 -0.243202"),
        (85, "latents_BLC", "2.34701 -0.0559528 -1.9318 -0.36233 1.55598 1.17084 -1.23444 -0.525501"
         " 1.21478 -0.412516 -1.7179 0.15169"),
        (85, "logits_BLV", "1.58576 0.615413 0.456489 -1.10619 1.26922 0.669684 0.554439 -0.0518819"
         " 0.689186 1.4771 0.766289 0.0258163"),
    ],
)  # fmt: skip
def test_dd1_of_llamagen(start, head, want):
    """Fixture `dd_llamagen`: fwd_x[0, :3] -> fwd_t0_tokens, fwd_t85_tokens and fwd_t85_logits, [0, :3, :4]."""
    student = filled(LlamaGenDD1(GPTConfig(vocab_size=64, block_size=256, **GPT_SIZES), LlamaGenJumps()), 2)
    latents = torch.zeros(1, 256, 8)
    latents[0, :3] = numbers(
        "0.325652 1.67734 -0.127857 0.677202 -0.399963 -0.173535 -0.413285 -1.1591"
        " -0.0706263 1.13816 0.55296 -0.581292 0.409432 -0.689808 -0.578419 -0.966573"
        " -0.385976 -0.312475 1.19522 0.315004 -0.219568 -0.415159 0.250777 -0.886064"
    ).view(3, 8)
    made = getattr(student(latents, Condition(torch.tensor([2])), start), head)
    close(made[0, :3, :4].flatten(), numbers(want))
