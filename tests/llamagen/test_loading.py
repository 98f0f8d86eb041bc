"""LlamaGen's teacher from weights files: what is read off them, what settings add, and what is refused."""

from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
import torch
from ardistill_llamagen.config import PRESETS
from ardistill_llamagen.loading import PAPER_GUIDANCE, check_preset, deduced_config, load_teacher
from ardistill_llamagen.settings import LlamaGenTeacherSettings, LlamaGenTokenizerSettings
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.transformer import GPT
from torch import Tensor

from ardistill.errors import ConfigError, MisfitError, WeightsError
from ardistill.plugins import discover
from ardistill.protocols import Guidance
from ardistill.weights import Weights, write_weights
from tests.llamagen.models import captions, condition_of, random_tokens, small_teacher, tiny_tokenizer

TOLD = {"n_head": 2}
"""What no shape of the small teacher tells."""


def nothing_bundled(name: str) -> None:
    return None


@pytest.fixture
def teacher() -> LlamaGenTeacher:
    return small_teacher(PAPER_GUIDANCE)


def saved(folder: Path, teacher: LlamaGenTeacher, about: Mapping[str, object] | None = None) -> Path:
    """The teacher's file in the folder, beside its tokenizer's, both bare but for what `about` says."""
    write_weights(folder / "tokenizer.safetensors", teacher.tokenizer.state_dict(), {})
    path = folder / "teacher.safetensors"
    write_weights(path, teacher.model.state_dict(), about or {})
    return path


def read(path: Path, image_size: int | None = 6, **settings: object) -> LlamaGenTeacher:
    tokenizer = LlamaGenTokenizerSettings(
        checkpoint=path.parent / "tokenizer.safetensors", image_size=image_size
    )
    return load_teacher(
        LlamaGenTeacherSettings(checkpoint=path, tokenizer=tokenizer, **settings), nothing_bundled
    )


def check_same(got: LlamaGenTeacher, want: LlamaGenTeacher) -> None:
    tokens = random_tokens(want, 3, seed=1)
    codes, condition = want.tokenizer.codebook[tokens], condition_of(want)
    assert torch.equal(got.log_probs(condition, codes), want.log_probs(condition, codes))
    assert not any(parameter.requires_grad for parameter in got.parameters())


@pytest.mark.parametrize("text", [False, True])
def test_bare_state_dict(tmp_path: Path, text: bool) -> None:
    teacher = small_teacher(PAPER_GUIDANCE, text=text)
    got = read(saved(tmp_path, teacher), **TOLD)
    assert attrs.evolve(got.model.config, multiple_of=16) == attrs.evolve(
        teacher.model.config, **({} if text else {"caption_dim": 2048})
    )
    check_same(got, teacher)


@pytest.mark.parametrize("wrapper", [None, "model", "module", "state_dict"])
def test_torch_files_as_upstream_leaves_them(
    tmp_path: Path, teacher: LlamaGenTeacher, wrapper: str | None
) -> None:
    """With what a sampler leaves behind in old checkpoints."""
    state: dict[str, Tensor] = {
        **teacher.model.state_dict(),
        "freqs_cis": torch.zeros(10, 4, 2),
        "causal_mask": torch.ones(16, 16, dtype=torch.bool),
        "layers.0.attention.kv_cache.k_cache": torch.zeros(2, 2, 16, 16),
        "layers.1.attention.kv_cache.v_cache": torch.zeros(2, 2, 16, 16),
    }
    saved(tmp_path, teacher)
    path = tmp_path / "c2i.pt"
    torch.save({wrapper: state, "steps": 5} if wrapper else state, path)
    check_same(read(path, **TOLD), teacher)


def test_half_precision_is_read_as_float32(tmp_path: Path, teacher: LlamaGenTeacher) -> None:
    saved(tmp_path, teacher)
    path = tmp_path / "c2i.pt"
    torch.save({key: value.bfloat16() for key, value in teacher.model.state_dict().items()}, path)
    got = read(path, **TOLD)
    assert got.model.output.weight.dtype == torch.float32
    assert torch.equal(got.model.output.weight, teacher.model.output.weight.bfloat16().float())


def test_a_file_of_ours_tells_everything(tmp_path: Path) -> None:
    teacher = small_teacher(Guidance(3.0, top_k=5, top_p=0.9, temperature=0.8), 4)
    config = attrs.evolve(teacher.model.config, rope_base=50.0, norm_eps=1e-3)
    model = GPT(config)
    model.load_state_dict(teacher.model.state_dict())
    teacher = LlamaGenTeacher(model, teacher.tokenizer, teacher.guidance, teacher.cfg_interval)
    about = {
        "kind": "llamagen-teacher",
        "config": attrs.asdict(config),
        "guidance": attrs.asdict(teacher.guidance),
        "cfg_interval": 4,
    }
    path = saved(tmp_path, teacher, about)
    got = read(path, image_size=None)
    assert got.model.config == config
    assert (got.guidance, got.cfg_interval) == (teacher.guidance, 4)
    check_same(got, teacher)
    changed = read(path, cfg=1.5, top_k=0, top_p=1.0, temperature=1.0, cfg_interval=-1, rope_base=10000.0)
    assert (changed.guidance, changed.cfg_interval) == (Guidance(1.5, 0, 1.0, 1.0), -1)
    assert changed.model.config.rope_base == 10000.0
    assert changed.model.config.norm_eps == 1e-3


def test_the_papers_sampling_by_default(tmp_path: Path, teacher: LlamaGenTeacher) -> None:
    got = read(saved(tmp_path, teacher), **TOLD)
    assert (got.guidance, got.cfg_interval) == (Guidance(2.0, top_k=8000, top_p=1.0, temperature=1.0), -1)


@pytest.mark.parametrize("settings", [{"image_size": None, "block_size": 16}, {"image_size": 8}])
def test_larger_images_by_either_word(
    tmp_path: Path, teacher: LlamaGenTeacher, settings: dict[str, int | None]
) -> None:
    got = read(saved(tmp_path, teacher), **TOLD, **settings)
    assert got.layout.n_tokens == got.tokenizer.n_tokens == 16
    assert got.tokenizer.image_shape == (1, 8, 8)


@pytest.mark.parametrize("preset", PRESETS)
def test_released_sizes_are_read_off_the_shapes(preset: str) -> None:
    """And a preset takes its own model only, naming whose weights others are."""
    with torch.device("meta"):
        state = GPT(PRESETS[preset]).state_dict()
    path = Path("some.pt")
    config = deduced_config(Weights(state, {}, path))
    assert config == PRESETS[preset]
    for name in PRESETS:
        if name == preset:
            check_preset(name, config, path)
            continue
        with pytest.raises(MisfitError, match=rf"some.pt holds {preset}'s weights .*, not {name}'s"):
            check_preset(name, config, path)


def test_released_heads() -> None:
    """No shape tells them: they are 64 wide, and 100 in 3B (LlamaGen autoregressive/models/gpt.py)."""
    widths = {name: config.head_dim for name, config in PRESETS.items()}
    assert widths == dict.fromkeys(PRESETS, 64) | {"c2i-3B": 100}


def test_unreleased_sizes_are_no_presets(tmp_path: Path, teacher: LlamaGenTeacher) -> None:
    path = saved(tmp_path, teacher)
    with pytest.raises(ConfigError, match=r"width 32 with 2 layers, .* give teacher.n_head=N"):
        read(path)
    with pytest.raises(MisfitError, match=r"never released \(width 32, 2 layers, 24 codes\), not c2i-B's"):
        read(path, preset="c2i-B", **TOLD)


def test_every_preset_is_a_word_of_the_settings() -> None:
    assert set(LlamaGenTeacherSettings.presets()) == set(PRESETS)


def test_refusals(tmp_path: Path, teacher: LlamaGenTeacher) -> None:
    path = saved(tmp_path, teacher)
    with pytest.raises(ConfigError, match="9 tokens in an image, and its tokenizer has 16"):
        read(path, image_size=8, block_size=9, **TOLD)
    with pytest.raises(ConfigError, match="dim=32 and n_head=3 do not fit"):
        read(path, n_head=3)
    with pytest.raises(WeightsError, match="holds LlamaGen's tokenizer, and a LlamaGen is expected"):
        read(path.parent / "tokenizer.safetensors")
    write_weights(path.parent / "tokenizer.safetensors", tiny_tokenizer(30, 3).state_dict(), {})
    with pytest.raises(ConfigError, match="24 codes, and its tokenizer has 30"):
        read(path, **TOLD)
    with pytest.raises(WeightsError, match=r"no weights for LlamaGen; give teacher.checkpoint=PATH"):
        load_teacher(LlamaGenTeacherSettings(), nothing_bundled)

    state = dict(teacher.model.state_dict())
    torch.save({**state, "n_d_embed.weight": torch.zeros(2, 32)}, tmp_path / "student.pt")
    with pytest.raises(MisfitError, match="holds a DD1 student"):
        read(tmp_path / "student.pt")
    torch.save({**state, "cls_embedding.embedding_table.weight": torch.zeros(0, 32)}, tmp_path / "bad.pt")
    with pytest.raises(WeightsError, match="no shapes of a network"):
        read(tmp_path / "bad.pt", **TOLD)
    write_weights(path, state, {"guidance": {"scale": "much"}})
    with pytest.raises(WeightsError, match="describes its sampling"):
        read(path, **TOLD)
    write_weights(path, state, {"kind": "llamagen-teacher", "config": {"dim": "wide"}})
    with pytest.raises(WeightsError, match="describes its model"):
        read(path)


def test_a_teacher_of_captions_has_no_classes(tmp_path: Path) -> None:
    got = read(saved(tmp_path, small_teacher(text=True)), **TOLD)
    assert got.n_classes == 0
    assert got.start(captions()).log_probs().shape == (3, 1, 24)


def test_the_offer_is_whole() -> None:
    registry = discover()
    offer = registry.get("teacher", "llamagen")
    assert offer.load() is load_teacher
    assert offer.config_class() is LlamaGenTeacherSettings
    assert offer.conditions == {"class", "text"}


def test_a_size_that_nothing_tells_is_said(
    tmp_path: Path, teacher: LlamaGenTeacher, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path, teacher)
    pixels = read(path, image_size=None, **TOLD).tokenizer.config.image_size
    assert f"{path} does not say its image size; {pixels} pixels are taken" in caplog.text
    caplog.clear()
    read(path, **TOLD)
    assert not caplog.text
    named = path.rename(path.with_name(f"c2i_{pixels}{path.suffix}"))
    read(named, image_size=None, **TOLD)
    assert not caplog.text
