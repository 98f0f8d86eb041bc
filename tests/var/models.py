"""The tiny models of the parity fixtures, filled by their rule, and smaller ones for properties."""

import torch
from ardistill_var.config import VARConfig, VARTokenizerConfig
from ardistill_var.dd1 import VARDD1
from ardistill_var.initialise import initialise
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR
from ardistill_vqgan.quantizer_training import initialise as initialise_tokenizer

from ardistill.protocols import Guidance
from ardistill.schedules import Jumps
from tests.golden import fill

PATCH_NUMS = (1, 2, 3, 4)


def tiny_tokenizer_config() -> VARTokenizerConfig:
    return VARTokenizerConfig(patch_nums=PATCH_NUMS, vocab=64, z_channels=32, ch=32)


def tiny_config(*, shared_aln: bool) -> VARConfig:
    return VARConfig(
        depth=2, patch_nums=PATCH_NUMS, vocab=64, code_width=32, num_classes=10, shared_aln=shared_aln
    )


def golden_teacher(*, shared_aln: bool, guidance: Guidance, joint_prefix: bool = False) -> VARTeacher:
    """The fixtures' teacher with its tokenizer; the seeds are the fixtures' own."""
    model, tokenizer = VAR(tiny_config(shared_aln=shared_aln)), VARTokenizer(tiny_tokenizer_config())
    fill(model, 8 if shared_aln else 0)
    fill(tokenizer, 0)
    return VARTeacher(model, tokenizer, guidance, joint_prefix=joint_prefix)


def small_teacher(
    guidance: Guidance | None = None,
    *,
    patch_nums: tuple[int, ...] = (1, 2, 4),
    shared_aln: bool = False,
    attn_l2_norm: bool = True,
    joint_prefix: bool = False,
    panels: int = 1,
) -> VARTeacher:
    """A teacher of the size the digits recipe uses, with lively random weights."""
    config = VARConfig(
        depth=2,
        width=32,
        heads=2,
        patch_nums=patch_nums,
        panels=panels,
        vocab=24,
        code_width=6,
        num_classes=5,
        shared_aln=shared_aln,
        attn_l2_norm=attn_l2_norm,
    )
    tokenizer = VARTokenizer(
        VARTokenizerConfig(
            patch_nums=patch_nums,
            panels=panels,
            vocab=24,
            z_channels=6,
            ch=8,
            ch_mult=(1, 2),
            num_res_blocks=1,
            groups=4,
            in_channels=1,
        )
    )
    model = VAR(config)
    initialise(model, seed=3, adaln=1.0, gamma=1.0, head=3.0, std=0.3)
    initialise_tokenizer(tokenizer, seed=4)
    return VARTeacher(model, tokenizer, guidance, joint_prefix=joint_prefix)


def random_tokens(teacher: VARTeacher, batch: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(teacher.model.config.vocab, (batch, teacher.layout.n_tokens), generator=generator)


def small_student(
    teacher: VARTeacher,
    *,
    starts: tuple[int, ...] = (0,),
    split: int = 0,
    recipes: tuple[str, ...] = (),
    seed: int = 7,
) -> VARDD1:
    """An untrained DD1 student whose every weight matters: what starts at zero or next to it is stirred."""
    student = VARDD1.of(teacher.model, seed, Jumps(starts=starts, split=split, recipes=recipes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return student.eval()
