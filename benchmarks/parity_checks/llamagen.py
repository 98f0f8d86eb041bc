"""LlamaGen's transformer: teacher-forced passes, generation with guidance, and what torch's generator makes of it.

Legend: B batch, L tokens, V codes, T positions of the condition.
Recorded from LlamaGen autoregressive/models/gpt.py:Transformer.forward and generate.py:generate.
"""

import re
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from ardistill_llamagen.conditions import attention_mask
from ardistill_llamagen.rotary import freqs_cis
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.transformer import GPT
from golden import Fixture
from torch import Tensor

from ardistill.protocols import Condition, Guidance
from ardistill.sampling import teacher_tokens
from parity_checks.calls import Triple, as_logits, call, compared, generator
from parity_checks.llamagen_models import Config, gpt_config, teacher_of


def build(info: Config) -> GPT:
    """The transformer that a json describes."""
    return GPT(gpt_config(info["config"], info["keys"]))


def check_c2i(fixture: Fixture) -> Iterator[Triple]:
    """A class-conditional model: every array but those that hang on torch's generator."""
    model, condition = _model(fixture), Condition(fixture["label"])
    yield from _forced(fixture, model, condition)
    idx_BL = fixture["idx"]
    logits_BLV = model(idx_BL, condition)
    null_B = torch.ones(len(idx_BL), dtype=torch.bool)
    loss = F.cross_entropy(logits_BLV.flatten(0, 1), idx_BL.flatten())
    null = model(idx_BL, condition, null_B)
    got = {"train_logits": logits_BLV, "train_loss": loss.view(1), "train_logits_null": null}
    yield from compared(fixture, got)
    yield from _generated(fixture, model, {"": condition})
    yield from _untold(fixture, model, condition)


def check_t2i(fixture: Fixture) -> Iterator[Triple]:
    """A caption-conditional model."""
    model, features_BTE, mask_BT = _model(fixture), fixture["caption"], fixture["emb_mask"].bool()
    masked = Condition(features_BTE=features_BTE, mask_BT=mask_BT)
    unmasked = Condition(features_BTE=features_BTE)
    yield from _forced(fixture, model, unmasked)
    idx_BL = fixture["idx"]
    n_inputs = mask_BT.shape[1] + idx_BL.shape[1] - 1
    may_attend = attention_mask(mask_BT, 0, n_inputs, idx_BL.device)
    assert may_attend is not None
    logits_BLV = model(idx_BL, masked)
    got = {"train_mask": may_attend.long(), "train_logits": logits_BLV}
    yield from compared(fixture, got | {"train_logits_nomask": model(idx_BL, unmasked)})
    if "train_loss_valid" in fixture:
        loss_BL = F.cross_entropy(logits_BLV.transpose(1, 2), idx_BL, reduction="none")
        valid_BL = fixture["train_valid"].unsqueeze(1).expand_as(loss_BL)
        loss = (loss_BL * valid_BL).sum() / valid_BL.sum().clamp_min(1)
        yield "train_loss_valid", loss.view(1), fixture["train_loss_valid"]
    yield from _generated(fixture, model, {"_mask": masked, "_nomask": unmasked})


def check_random(fixture: Fixture) -> Iterator[Triple]:
    """What upstream draws with torch.multinomial, drawn again from our probabilities."""
    if "rnd_idx" not in fixture:
        return
    said = call(fixture, "rnd")
    top_k, top_p = int(said.get("top_k", 0)), said.get("top_p", 0.0)
    guidance = Guidance(said.get("cfg", 1.0), top_k, top_p, said.get("temperature", 1.0))
    cursor = teacher_of(_model(fixture), guidance).start(Condition(fixture["label"]))
    drawn, tokens = generator(fixture, "rnd"), []
    for _ in range(fixture["rnd_idx"].shape[1]):
        tokens.append(torch.multinomial(cursor.log_probs()[:, 0].exp(), 1, generator=drawn))
        cursor.accept(tokens[-1])
    yield "rnd_idx", torch.cat(tokens, dim=1), fixture["rnd_idx"]


def _model(fixture: Fixture) -> GPT:
    model = build(fixture.info)
    fixture.fill(model)
    return model.eval()


def _forced(fixture: Fixture, model: GPT, condition: Condition) -> Iterator[Triple]:
    """The rotary table, and the logits at every position, those before the first token and after the last included."""
    logits_BNV = model.logits(model.hidden(fixture["idx"], condition))
    yield from compared(fixture, {"freqs_cis": freqs_cis(model.config), "eval_logits": logits_BNV})


def _generated(fixture: Fixture, model: GPT, conditions: dict[str, Condition]) -> Iterator[Triple]:
    """`gen_cfgX_idx`, `gen_cfgX_logits`, with the condition's name behind X, and those of a guidance that ends."""
    for ending, condition in conditions.items():
        pattern = re.compile(r"gen_cfg(\d+\.?\d*)" + ending + "_(?:idx|logits)")
        scales = sorted({match[1] for name in fixture if (match := pattern.fullmatch(name))})
        for scale in scales:
            teacher = teacher_of(model, Guidance(float(scale)))
            yield from _greedy(fixture, f"gen_cfg{scale}{ending}", teacher, condition)
        said = call(fixture, "gen_interval")
        name = f"gen_interval{ending}"
        if f"{name}_idx" in fixture:
            interval = int(said.get("cfg_interval", fixture.config.get("cfg_interval", -1)))
            teacher = teacher_of(model, Guidance(_scales(fixture, "gen_interval")[0]), interval)
            yield from _greedy(fixture, name, teacher, condition)


def _greedy(fixture: Fixture, name: str, teacher: LlamaGenTeacher, condition: Condition) -> Iterator[Triple]:
    idx_BL = fixture[f"{name}_idx"]
    yield f"{name}_idx", _likeliest(teacher, condition, idx_BL.shape[1]), idx_BL
    if f"{name}_logits" not in fixture:
        return
    logits_BLV = fixture[f"{name}_logits"]
    yield f"{name}_logits", teacher.guided_logits(condition, idx_BL), logits_BLV
    cursor, log_probs = teacher.start(condition), []
    for token_B1 in torch.split(idx_BL, 1, dim=1):
        log_probs.append(cursor.log_probs())
        cursor.accept(token_B1)
    yield f"{name}_logits", as_logits(torch.cat(log_probs, dim=1), logits_BLV), logits_BLV


def _likeliest(
    teacher: LlamaGenTeacher, condition: Condition, length: int, temperature: float = 1.0
) -> Tensor:
    """A user's path: the sampler with top-k 1."""
    guidance = Guidance(teacher.guidance.scale, top_k=1, temperature=temperature)
    greedy = LlamaGenTeacher(teacher.model, teacher.tokenizer, guidance, teacher.cfg_interval)
    uniform_BL = torch.full((len(condition), teacher.layout.n_tokens), 0.5)
    return teacher_tokens(greedy, condition, uniform_BL, until=length)


def _untold(fixture: Fixture, model: GPT, condition: Condition) -> Iterator[Triple]:
    """Calls whose guidance the json may leave open: the one of its own guidances that fits, else the first."""
    for name in ("gen_argmax", "gen_half"):
        if f"{name}_idx" not in fixture:
            continue
        want_Bl, temperature = fixture[f"{name}_idx"], call(fixture, name).get("temperature", 1.0)
        tries = [
            _likeliest(teacher_of(model, Guidance(scale)), condition, want_Bl.shape[1], temperature)
            for scale in _scales(fixture, name)
        ]
        fitting = (got_Bl for got_Bl in tries if torch.equal(got_Bl, want_Bl))
        yield f"{name}_idx", next(fitting, tries[0]), want_Bl


def _scales(fixture: Fixture, name: str) -> Sequence[float]:
    """The guidance a call was given; where it is not said, all that the json mentions, the largest first."""
    said = call(fixture, name)
    if "cfg" in said:
        return [said["cfg"]]
    calls = [call(fixture, other) for other in fixture.info.get("calls", {})]
    mentioned = {float(scale) for scale in fixture.config.get("cfg", [])}
    mentioned |= {said["cfg"] for said in calls if "cfg" in said}
    return sorted(mentioned, reverse=True) or [1.0]
