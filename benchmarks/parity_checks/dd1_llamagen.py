"""DD1's student of LlamaGen: single passes, few-step samples, samples with teacher steps.

Recorded from distilled_decoding LlamaGen/autoregressive/models/dd.py.
"""

from collections.abc import Iterator
from functools import cache

import attrs
from ardistill_llamagen.dd1 import LlamaGenDD1
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.transformer import GPT
from golden import Fixture, fill

from ardistill.protocols import Condition, Guidance
from ardistill.schedules import Jumps
from parity_checks.calls import Triple, compared
from parity_checks.dd1 import Distilled, check_combined, check_few_steps, check_passes
from parity_checks.llamagen_models import Config, gpt_config
from parity_checks.llamagen_tokenizer import tokenizer_config


def build(info: Config) -> LlamaGenDD1:
    """The student that a json describes; the width of its vectors is read from the keys' shapes."""
    config = gpt_config(info["config"], info["keys"])
    code_width = info["keys"]["tok_embeddings.weight"]["shape"][1]
    return LlamaGenDD1(attrs.evolve(config, code_width=code_width), Jumps())


def check(fixture: Fixture) -> Iterator[Triple]:
    """Every array of a student's fixture."""
    student = build(fixture.info)
    fixture.fill(student)
    student.eval()
    labels_B, tokenizer = fixture["label"], _tokenizer(fixture)
    yield from compared(fixture, {"codebook": tokenizer.codebook})
    config = gpt_config(fixture.config | fixture.config.get("teacher", {}), fixture.info["teacher_keys"])
    model = GPT(attrs.evolve(config, code_width=tokenizer.config.codebook_embed_dim))
    fixture.fill(model, "teacher_keys", "teacher_weight_seed")

    @cache
    def teacher(guidance: Guidance) -> LlamaGenTeacher:
        return LlamaGenTeacher(model, tokenizer, guidance)

    given = Distilled(
        student,
        teacher,
        Condition(labels_B),
        fixture["noise"],
        forward=lambda latents_BLC, start: student(latents_BLC, Condition(labels_B), start),
        image=lambda latents_BLC: (tokenizer.images(tokenizer.map(latents_BLC)) + 1) / 2,
    )
    yield from check_passes(fixture, given)
    yield from check_few_steps(fixture, given)
    yield from check_combined(fixture, given)


def _tokenizer(fixture: Fixture) -> LlamaGenTokenizer:
    config = {"image": fixture.config["image"], **fixture.config["vq"]}
    tokenizer = LlamaGenTokenizer(tokenizer_config(config))
    fill(tokenizer, fixture.info.get("vq_weight_seed", config.get("seed", 0)))
    return tokenizer.eval()
