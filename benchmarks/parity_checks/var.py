"""VAR: teacher-forced passes, generation with guidance, and what torch's generator makes of it.

Legend: B batch, R rows of the network's batch (conditional, then null), L tokens, V codes, s a scale.
Recorded from VAR models/var.py:VAR.forward, autoregressive_infer_cfg.
"""

import re
from collections.abc import Iterator

import torch
from ardistill_var.smooth import random_labels, sample
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR
from golden import Fixture
from torch import Tensor

from ardistill.protocols import Condition, Guidance
from ardistill.sampling import teacher_tokens
from parity_checks.calls import Triple, as_logits, call, compared, each, generator, in_order
from parity_checks.var_models import Config, golden_tokenizer, transformer_config


def build(info: Config) -> VAR:
    """The transformer that a json describes."""
    return VAR(transformer_config(info["config"], info["keys"]))


def check(fixture: Fixture) -> Iterator[Triple]:
    """Every array but those that hang on torch's generator."""
    model, tokenizer = _models(fixture)
    yield from _forced(fixture, model)
    yield from _forced_tokens(fixture, VARTeacher(model, tokenizer, Guidance()))
    yield from _generated(fixture, VARTeacher(model, tokenizer, Guidance(_cfg(fixture, "gen"))))


def check_random(fixture: Fixture) -> Iterator[Triple]:
    """What upstream draws from torch's generator, drawn by our sampler from the same."""
    model, tokenizer = _models(fixture)
    labels_B = fixture["label_B"]
    for name in fixture:
        if match := re.fullmatch(r"rnd_labels_seed(\d+)", name):
            drawn_B = random_labels(len(labels_B), model.config.num_classes, _generator(int(match[1])))
            yield name, drawn_B.view(fixture[name].shape), fixture[name]
    for name in ("rnd", "rndsmooth"):
        if f"{name}_idx" not in fixture and f"{name}_image" not in fixture:
            continue
        said = call(fixture, name)
        guidance = Guidance(
            _cfg(fixture, name), top_k=int(said.get("top_k", 0)), top_p=said.get("top_p", 0.0)
        )
        teacher, smooth = VARTeacher(model, tokenizer, guidance), bool(said.get("more_smooth", False))
        tokens_BL, image = sample(teacher, labels_B, generator(fixture, name), smooth=smooth)
        yield from compared(fixture, {f"{name}_idx": tokens_BL, f"{name}_image": _unit(image)})


def _models(fixture: Fixture) -> tuple[VAR, VARTokenizer]:
    model = build(fixture.info)
    fixture.fill(model)
    return model.eval(), golden_tokenizer(fixture)


def _cfg(fixture: Fixture, name: str) -> float:
    """The guidance a call was given; it is told once for all calls that don't tell it."""
    told = fixture.info.get("cfg", fixture.config.get("cfg", 0.0))
    return float(call(fixture, name).get("cfg", told))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _unit(image: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]."""
    return (image + 1) / 2


def _forced(fixture: Fixture, model: VAR) -> Iterator[Triple]:
    if "tf_x" not in fixture:
        return
    inputs, labels_B = fixture["tf_x"], fixture["label_B"]
    outputs: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda *args: outputs.append(args[2])) for block in model.blocks]
    yield from compared(fixture, {"tf_logits": model(inputs, labels_B)})
    for hook in hooks:
        hook.remove()
    yield from compared(fixture, {f"tf_block{i}_out": output for i, output in enumerate(outputs)})
    dropped_B = torch.ones(len(labels_B), dtype=torch.bool)
    yield from compared(fixture, {"tf_logits_null": model(inputs, labels_B, dropped_B)})


def _forced_tokens(fixture: Fixture, teacher: VARTeacher) -> Iterator[Triple]:
    if "tf_idx" not in fixture:
        return
    condition, tokens_BL = Condition(fixture["label_B"]), fixture["tf_idx"]
    codes_BLC = teacher.tokenizer.codebook[tokens_BL]
    log_probs_BLV = teacher.log_probs(condition, codes_BLC)
    yield from compared(
        fixture,
        {
            "tf_idx_x": teacher.tokenizer.quantize.inputs(codes_BLC),
            "tf_idx_logits": teacher.guided_logits(condition, codes_BLC),
            "tf_idx_ce": -log_probs_BLV.gather(-1, tokens_BL.unsqueeze(-1)).squeeze(-1),
        },
    )


def _generated(fixture: Fixture, teacher: VARTeacher) -> Iterator[Triple]:
    if "gen_idx_s0" not in fixture:
        return
    model, tokenizer, layout = teacher.model, teacher.tokenizer, teacher.layout
    labels_B = fixture["label_B"]
    # Step by step with the cache: the distribution of each scale, and its likeliest tokens.
    cursor, log_probs, tokens = teacher.start(Condition(labels_B)), [], []
    for _ in range(layout.n_steps):
        log_probs.append(cursor.log_probs())
        tokens.append(log_probs[-1].argmax(-1))
        cursor.accept(tokens[-1])
    for name, got, want in each(fixture, "gen_cfglogits_s", log_probs.__getitem__):
        yield name, as_logits(got, want), want
    yield from each(fixture, "gen_idx_s", tokens.__getitem__)
    # The recorded tokens in one pass: the logits themselves, of both halves and guided.
    codes_BLC = tokenizer.codebook[in_order(fixture, "gen_idx_s")]
    inputs_BLC = tokenizer.quantize.inputs(codes_BLC)
    labels_R = torch.cat([labels_B, torch.full_like(labels_B, model.config.num_classes)])
    raw_RLV = model(torch.cat([inputs_BLC, inputs_BLC]), labels_R)
    guided_BLV = teacher.guided_logits(Condition(labels_B), codes_BLC)
    yield from each(fixture, "gen_rawlogits_s", lambda s: raw_RLV[:, layout.span(s)])
    yield from each(fixture, "gen_cfglogits_s", lambda s: guided_BLV[:, layout.span(s)])
    yield from each(
        fixture, "gen_fhat_s", lambda s: tokenizer.quantize.map(codes_BLC[:, : layout.offset(s + 1)])
    )
    # A user's path: the sampler with top-k 1.
    tokens_BL = _greedy(teacher, teacher.guidance.scale, labels_B)
    yield from compared(fixture, {"gen_idx": tokens_BL})
    yield from compared(fixture, {"gen_image": _unit(tokenizer.decode(tokenizer.codebook[tokens_BL]))})
    yield from compared(
        fixture, {"gen_nocfg_idx": _greedy(teacher, call(fixture, "gen_nocfg").get("cfg", 0.0), labels_B)}
    )


def _greedy(teacher: VARTeacher, scale: float, labels_B: Tensor) -> Tensor:
    greedy = VARTeacher(teacher.model, teacher.tokenizer, Guidance(scale, top_k=1))
    uniform_BL = torch.full((len(labels_B), teacher.layout.n_tokens), 0.5)
    return teacher_tokens(greedy, Condition(labels_B), uniform_BL)
