"""LlamaGen's generation against numbers recorded upstream: caches, masks, guidance, filters."""

from collections.abc import Callable

import pytest
import torch
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.cursor import LlamaGenCursor
from ardistill_llamagen.filters import filtered_log_probs
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.transformer import GPT
from torch import Tensor

from ardistill.protocols import Condition, Guidance
from tests.golden import Fixture, close, fill, load
from tests.llamagen.models import golden_teacher, tiny_tokenizer

UPSTREAM_TOKENS = [5, 27, 5, 27, 10, 114, 27, 48, 80, 27, 48, 80, 27, 48, 122, 99]

INTERVALS = {"gen_cfg1": (1.0, -1), "gen_cfg4": (4.0, -1), "gen_interval": (4.0, 5)}


@pytest.fixture(scope="module")
def c2i() -> Fixture:
    return load("llamagen_c2i")


@pytest.fixture(scope="module")
def t2i() -> Fixture:
    return load("llamagen_t2i")


def likeliest(log_probs: Tensor) -> Tensor:
    return log_probs.argmax(-1)


def drawn(
    cursor: LlamaGenCursor, n: int, choose: Callable[[Tensor], Tensor] = likeliest
) -> tuple[Tensor, Tensor]:
    """n tokens (B, n) and the log-probabilities (B, n, V) they were chosen from."""
    tokens, log_probs = [], []
    for _ in range(n):
        log_probs.append(cursor.log_probs())
        tokens.append(choose(log_probs[-1]))
        cursor.accept(tokens[-1])
    return torch.cat(tokens, dim=1), torch.cat(log_probs, dim=1)


@pytest.mark.parametrize("name", INTERVALS)
def test_classes(c2i: Fixture, name: str) -> None:
    scale, interval = INTERVALS[name]
    teacher, condition = golden_teacher(c2i, Guidance(scale), interval), Condition(c2i["label"])
    tokens, log_probs = drawn(teacher.start(condition), 16)
    assert torch.equal(tokens, c2i[f"{name}_idx"])
    close(log_probs, c2i[f"{name}_logits"].log_softmax(-1))
    close(teacher.guided_logits(condition, tokens), c2i[f"{name}_logits"])


@pytest.mark.parametrize("scale", ["1", "7.5"])
@pytest.mark.parametrize("masked", [False, True])
def test_captions(t2i: Fixture, scale: str, masked: bool) -> None:
    name = f"gen_cfg{scale}_{'mask' if masked else 'nomask'}"
    teacher = golden_teacher(t2i, Guidance(float(scale)))
    condition = Condition(features_BTE=t2i["caption"], mask_BT=t2i["emb_mask"].bool() if masked else None)
    tokens, log_probs = drawn(teacher.start(condition), 16)
    assert torch.equal(tokens, t2i[f"{name}_idx"])
    close(log_probs, t2i[f"{name}_logits"].log_softmax(-1))
    close(teacher.guided_logits(condition, tokens), t2i[f"{name}_logits"])


def test_temperature_moves_no_likeliest_token(c2i: Fixture) -> None:
    teacher = golden_teacher(c2i, Guidance(c2i.config["cfg"][1], temperature=0.7))
    tokens, _ = drawn(teacher.start(Condition(c2i["label"])), 16)
    assert torch.equal(tokens, c2i["gen_argmax_idx"])
    assert torch.equal(tokens[:, :8], c2i["gen_half_idx"])


def test_random_generation(c2i: Fixture) -> None:
    """Upstream's own draws: multinomial over the filtered probabilities from one seeded generator."""
    teacher = golden_teacher(c2i, Guidance(4.0, top_k=30, top_p=0.9, temperature=0.9))
    generator = torch.Generator().manual_seed(1234)

    def choose(log_probs: Tensor) -> Tensor:
        return torch.multinomial(log_probs[:, 0].exp(), 1, generator=generator)

    tokens, _ = drawn(teacher.start(Condition(c2i["label"])), 16, choose)
    assert torch.equal(tokens, c2i["rnd_idx"])


def test_filters() -> None:
    golden = load("llamagen_sampling_filter")
    for i, case in enumerate(golden.info["cases"]):
        probs = filtered_log_probs(golden["logits"][:, -1], Guidance(**case)).exp()
        assert torch.equal(probs == 0, golden[f"probs_{i}"] == 0)
        close(probs, golden[f"probs_{i}"])


def test_embedded_numbers() -> None:
    """Parity with upstream in a few numbers that travel with the repository (`llamagen_c2i`, greedy, cfg 4)."""
    model = GPT(GPTConfig(dim=64, n_layer=2, n_head=4, vocab_size=128, block_size=16, num_classes=10))
    fill(model, 0)
    teacher = LlamaGenTeacher(model, tiny_tokenizer(128, 4), Guidance(4.0))
    condition = Condition(torch.tensor([2, 9]))
    tokens, _ = drawn(teacher.start(condition), 16)
    assert tokens.tolist() == [[12] * 16, UPSTREAM_TOKENS]
    logits = teacher.guided_logits(condition, tokens)[0, 15, :6]
    want = [0.080657452, 0.658796787, -2.284224033, 1.381463289, -1.144274950, 0.313656539]
    torch.testing.assert_close(logits, torch.tensor(want), atol=1e-4, rtol=1e-4)
