"""VAR's generation against numbers recorded upstream: caches, guidance, filters, images."""

import pytest
import torch
from ardistill_var.cursor import VARCursor
from ardistill_var.filters import filtered_log_probs
from torch import Tensor

from ardistill.protocols import Condition, Guidance
from tests.golden import Fixture, close, load
from tests.var.models import golden_teacher

CASES = ["var", "var_saln"]


@pytest.fixture(scope="module", params=CASES)
def golden(request: pytest.FixtureRequest) -> Fixture:
    return load(request.param)


def greedy(cursor: VARCursor, scales: int) -> tuple[list[Tensor], list[Tensor]]:
    tokens, log_probs = [], []
    for _ in range(scales):
        log_probs.append(cursor.log_probs())
        tokens.append(log_probs[-1].argmax(-1))
        cursor.accept(tokens[-1])
    return tokens, log_probs


def test_greedy_generation(golden: Fixture) -> None:
    teacher = golden_teacher(shared_aln=golden.config["shared_aln"], guidance=Guidance(golden.info["cfg"]))
    tokens, log_probs = greedy(teacher.start(Condition(golden["label_B"])), 4)
    for s in range(4):
        close(log_probs[s], golden[f"gen_cfglogits_s{s}"].log_softmax(-1))
        assert torch.equal(tokens[s], golden[f"gen_idx_s{s}"])
    codes = teacher.tokenizer.codebook[torch.cat(tokens, dim=1)]
    assert torch.equal(torch.cat(tokens, dim=1), golden["gen_idx"])
    for s in range(4):
        f_hat = teacher.tokenizer.quantize.map(codes[:, : teacher.layout.offset(s + 1)])
        close(f_hat, golden[f"gen_fhat_s{s}"])
    close((teacher.tokenizer.decode(codes) + 1) / 2, golden["gen_image"])


def test_guided_logits_of_one_pass(golden: Fixture) -> None:
    teacher = golden_teacher(shared_aln=golden.config["shared_aln"], guidance=Guidance(golden.info["cfg"]))
    codes = teacher.tokenizer.codebook[golden["gen_idx"]]
    want = torch.cat([golden[f"gen_cfglogits_s{s}"] for s in range(4)], dim=1)
    close(teacher.guided_logits(Condition(golden["label_B"]), codes), want)


def test_unguided_greedy_generation(golden: Fixture) -> None:
    teacher = golden_teacher(shared_aln=golden.config["shared_aln"], guidance=Guidance())
    tokens, _ = greedy(teacher.start(Condition(golden["label_B"])), 4)
    assert torch.equal(torch.cat(tokens, dim=1), golden["gen_nocfg_idx"])


def test_log_probs_of_tokens(golden: Fixture) -> None:
    teacher = golden_teacher(shared_aln=golden.config["shared_aln"], guidance=Guidance())
    codes = teacher.tokenizer.codebook[golden["tf_idx"]]
    close(teacher.tokenizer.quantize.inputs(codes), golden["tf_idx_x"])
    close(teacher.guided_logits(Condition(golden["label_B"]), codes), golden["tf_idx_logits"])
    log_probs = teacher.log_probs(Condition(golden["label_B"]), codes)
    chosen = log_probs.gather(-1, golden["tf_idx"].unsqueeze(-1)).squeeze(-1)
    close(-chosen, golden["tf_idx_ce"])


def test_random_generation(golden: Fixture) -> None:
    """Upstream's own draws: multinomial over the filtered probabilities from one seeded generator."""
    guidance = Guidance(golden.info["cfg"], top_k=20, top_p=0.9)
    teacher = golden_teacher(shared_aln=golden.config["shared_aln"], guidance=guidance)
    generator = torch.Generator().manual_seed(1234)
    cursor, tokens = teacher.start(Condition(golden["label_B"])), []
    for size in teacher.layout.sizes:
        probs = cursor.log_probs().exp().flatten(0, 1)
        drawn = torch.multinomial(probs, 1, replacement=True, generator=generator)
        tokens.append(drawn.view(-1, size))
        cursor.accept(tokens[-1])
    assert torch.equal(torch.cat(tokens, dim=1), golden["rnd_idx"])


def test_filters() -> None:
    golden = load("var_sampling_filter")
    for i, case in enumerate(golden.info["cases"]):
        guidance = Guidance(top_k=case["top_k"], top_p=case["top_p"])
        probs = filtered_log_probs(golden["logits"], guidance).exp()
        assert torch.equal(probs == 0, golden[f"probs_{i}"] == 0)
        close(probs, golden[f"probs_{i}"])
