"""Weights files of the official layouts: what is read off them, what words add, what is refused and how."""

from pathlib import Path

import attrs
import pytest
import torch
from ardistill_var.config import PATCH_NUMS_256, PATCH_NUMS_512, PRESETS, VARConfig, VARTokenizerConfig
from ardistill_var.dd1_loading import load_published
from ardistill_var.dd1_settings import VARDD1Settings
from ardistill_var.loading import PAPER_GUIDANCE, config_of, load_teacher, load_tokenizer
from ardistill_var.settings import VARTeacherSettings, VARTokenizerSettings
from ardistill_var.structure import STRUCTURAL
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR
from torch import Tensor, nn

from ardistill.config import structure_words
from ardistill.errors import ConfigError, MisfitError, WeightsError
from ardistill.protocols import Condition
from ardistill.weights import Weights, read_weights, write_weights
from tests.var.models import golden_teacher, small_student, small_teacher

LABELS = Condition(torch.tensor([0, 4, 2]))
TEACHER = small_teacher()
SCALES = TEACHER.model.config.patch_nums


def bare(path: Path, module: nn.Module, *without: str) -> Path:
    """The module's state dict as upstream publishes it, saying nothing of itself, less the keys that end so."""
    torch.save({k: v for k, v in module.state_dict().items() if not k.endswith(without or ("?",))}, path)
    return path


def tokenizer_file(folder: Path, tokenizer: VARTokenizer = TEACHER.tokenizer) -> Path:
    """The small tokenizer is not built like the released ones, so its file describes itself."""
    path = folder / "vae.safetensors"
    write_weights(
        path, tokenizer.state_dict(), {"kind": "var-tokenizer", "config": attrs.asdict(tokenizer.config)}
    )
    return path


def settings_of(folder: Path, path: Path, **words: object) -> VARTeacherSettings:
    tokenizer = VARTokenizerSettings(checkpoint=tokenizer_file(folder))
    return VARTeacherSettings(checkpoint=path, tokenizer=tokenizer, **words)


def nothing_bundled(_: str) -> None:
    return None


def logits(teacher: VARTeacher, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(3, teacher.layout.n_tokens, teacher.model.config.code_width, generator=generator)
    return teacher.guided_logits(LABELS, latents)


@pytest.mark.parametrize("shared_aln", [False, True])
@pytest.mark.parametrize("without", [(), ("attn_bias_for_masking", "zero_k_bias")])
def test_a_bare_teacher(tmp_path: Path, shared_aln: bool, without: tuple[str, ...]) -> None:
    teacher = small_teacher(shared_aln=shared_aln)
    path = bare(tmp_path / "var.pth", teacher.model, *without)
    before = torch.get_rng_state()
    loaded = load_teacher(settings_of(tmp_path, path), nothing_bundled)
    assert torch.equal(before, torch.get_rng_state())
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert loaded.model.config.same_network(teacher.model.config)
    assert loaded.guidance == PAPER_GUIDANCE
    teacher.guidance = PAPER_GUIDANCE
    torch.testing.assert_close(logits(loaded), logits(teacher), atol=0, rtol=0)


def test_a_pair_of_the_released_kind(tmp_path: Path) -> None:
    """Both files bare: the tokenizer learns its scales of the teacher's."""
    teacher = golden_teacher(shared_aln=False, guidance=PAPER_GUIDANCE)
    words = VARTeacherSettings(
        checkpoint=bare(tmp_path / "var.pth", teacher.model),
        tokenizer=VARTokenizerSettings(checkpoint=bare(tmp_path / "vae.pth", teacher.tokenizer)),
    )
    loaded = load_teacher(words, nothing_bundled)
    assert loaded.tokenizer.config == teacher.tokenizer.config
    latents = torch.randn(2, 30, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        loaded.tokenizer.decode(latents), teacher.tokenizer.decode(latents), atol=0, rtol=0
    )


def test_half_precision_files_make_float32_models(tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    halves = {k: v.half() if v.is_floating_point() else v for k, v in TEACHER.model.state_dict().items()}
    torch.save(halves, path)
    loaded = load_teacher(settings_of(tmp_path, path), nothing_bundled)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}


def test_a_file_that_lists_no_scales_needs_them_told(tmp_path: Path) -> None:
    path = bare(tmp_path / "var.pth", TEACHER.model, *STRUCTURAL)
    words = settings_of(tmp_path, path)
    with pytest.raises(WeightsError, match=r"its 21 tokens; give them as teacher\.tokenizer\.v_patch_nums"):
        load_teacher(words, nothing_bundled)
    for scales, fits in (((1, 2, 4), True), ((1, 2, 3), False)):
        told = attrs.evolve(words, tokenizer=attrs.evolve(words.tokenizer, v_patch_nums=scales))
        if fits:
            torch.testing.assert_close(
                logits(load_teacher(told, nothing_bundled)).shape, logits(TEACHER).shape
            )
        else:
            with pytest.raises(WeightsError, match="21 tokens"):
                load_teacher(told, nothing_bundled)


def test_released_scales_are_known_by_their_tokens() -> None:
    for preset in ("d16", "d36"):
        with torch.device("meta"):
            state = VAR(attrs.evolve(PRESETS[preset][0], depth=1, width=64, heads=1)).state_dict()
        file = Weights({k: v for k, v in state.items() if not k.endswith(STRUCTURAL)}, {}, Path("var.pth"))
        found = config_of(VARTeacherSettings(), file).patch_nums
        assert found == (PATCH_NUMS_256 if preset == "d16" else PATCH_NUMS_512)


def test_heads_of_an_unnormalised_teacher(tmp_path: Path) -> None:
    teacher = small_teacher(attn_l2_norm=False)  # 2 heads, depth 2
    path = bare(tmp_path / "var.pth", teacher.model)
    for heads, same in ((None, True), (2, True), (4, False)):
        loaded = load_teacher(settings_of(tmp_path, path, num_heads=heads, cfg=0.0), nothing_bundled)
        assert loaded.model.config.n_heads == (heads or 2)
        assert torch.equal(logits(loaded), logits(teacher)) is same
    l2 = bare(tmp_path / "l2.pth", TEACHER.model)
    with pytest.raises(
        ConfigError, match=r"teacher\.num_heads=4 is not what the weights say, 2; leave it out"
    ):
        load_teacher(settings_of(tmp_path, l2, num_heads=4), nothing_bundled)
    with pytest.raises(WeightsError, match="heads=3 must divide"):
        load_teacher(settings_of(tmp_path, path, num_heads=3), nothing_bundled)


def test_norm_eps(tmp_path: Path) -> None:
    path = bare(tmp_path / "var.pth", TEACHER.model)
    plain, other = (
        load_teacher(settings_of(tmp_path, path, norm_eps=eps), nothing_bundled) for eps in (None, 0.5)
    )
    assert plain.model.config.norm_eps == 1e-6
    assert (logits(plain) - logits(other)).abs().max() > 0.1


def test_prefix_is_causal_unless_told(tmp_path: Path) -> None:
    path = bare(tmp_path / "var.pth", TEACHER.model)
    assert not load_teacher(settings_of(tmp_path, path), nothing_bundled).joint_prefix
    assert load_teacher(settings_of(tmp_path, path, prefix="joint"), nothing_bundled).joint_prefix
    with pytest.raises(ConfigError, match="causal"):
        structure_words(["prefix=bidirectional"], VARTeacherSettings)


def test_what_shapes_do_not_tell_of_a_tokenizer(tmp_path: Path) -> None:
    path = tokenizer_file(tmp_path)
    told = load_tokenizer(VARTokenizerSettings(checkpoint=path), nothing_bundled)
    assert told.config == TEACHER.tokenizer.config
    words = {"using_znorm": True, "quant_resi": 0.25, "beta": 1.0}
    given = load_tokenizer(VARTokenizerSettings(checkpoint=path, **words), nothing_bundled)
    assert {key: getattr(given.config, key) for key in words} == words
    assert given.quantize.cosine
    assert given.quantize.quant_resi.ratio == 0.25
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert not torch.equal(given.encode(images), told.encode(images))
    with pytest.raises(ConfigError, match="v_patch_nums"):
        structure_words(["v_patch_nums=1,0"], VARTokenizerSettings)


@pytest.mark.parametrize(
    ("share", "keys"),
    [(0, {"0", "1", "2"}), (1, {"qresi"}), (2, {"qresi_ls.0", "qresi_ls.1"})],
)
def test_phi_of_every_sharing_is_read_off_the_keys(tmp_path: Path, share: int, keys: set[str]) -> None:
    config = VARTokenizerConfig(patch_nums=(1, 2, 4), vocab=16, z_channels=8, ch=32, share_quant_resi=share)
    made = VARTokenizer(config)
    prefix, end = "quantize.quant_resi.", ".weight"
    found = {
        key.removeprefix(prefix).removesuffix(end) for key in made.state_dict() if key.startswith(prefix)
    }
    assert {key for key in found if not key.endswith("bias")} == keys
    path = bare(tmp_path / "vae.pth", made)
    loaded = load_tokenizer(VARTokenizerSettings(checkpoint=path, v_patch_nums=(1, 2, 4)), nothing_bundled)
    assert loaded.config.share_quant_resi == share
    latents = torch.randn(2, 21, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.decode(latents), made.eval().decode(latents))


def test_scales_of_a_bare_tokenizer(tmp_path: Path) -> None:
    four = VARTokenizer(VARTokenizerConfig(patch_nums=(1, 2, 3, 4), vocab=16, z_channels=8, ch=32))
    path = bare(tmp_path / "four.pth", four)
    with pytest.raises(
        WeightsError, match=r"has 4 scales and does not say which; give tokenizer\.v_patch_nums"
    ):
        load_tokenizer(VARTokenizerSettings(checkpoint=path), nothing_bundled)
    for scales in ((1, 2, 3, 4), (1, 2, 4)):  # other scales: upstream drops the statistics too
        words = VARTokenizerSettings(checkpoint=path, v_patch_nums=scales)
        loaded = load_tokenizer(words, nothing_bundled)
        assert loaded.config.patch_nums == scales
        assert loaded.quantize.ema_vocab_hit_SV.shape == (len(scales), 16)
    ten = VARTokenizer(attrs.evolve(four.config, patch_nums=PATCH_NUMS_256))
    for missing in ((), ("ema_vocab_hit_SV",)):
        path = bare(tmp_path / "ten.pth", ten, *missing)
        loaded = load_tokenizer(VARTokenizerSettings(checkpoint=path), nothing_bundled)
        assert loaded.config.patch_nums == PATCH_NUMS_256
        assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])
        assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_bare_tokenizer_that_can_not_be_built(tmp_path: Path) -> None:
    path = bare(tmp_path / "vae.pth", TEACHER.tokenizer)  # narrower than 32 groups, which no shape tells
    with pytest.raises(
        WeightsError, match=r"vae\.pth holds VAR's tokenizer that can't be used: groups=32 does not"
    ):
        load_tokenizer(VARTokenizerSettings(checkpoint=path, v_patch_nums=SCALES), nothing_bundled)


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("d20", None),
        ("", None),
        ("d16", "holds d20's weights, not d16's; give teacher.preset=d20 or leave it out"),
        ("d36", "holds d20's weights, not d36's; give teacher.preset=d20 or leave it out"),
    ],
)
def test_a_preset_is_a_promise(preset: str, message: str | None) -> None:
    with torch.device("meta"):
        file = Weights(VAR(PRESETS["d20"][0]).state_dict(), {}, Path("var_d20.pth"))
    words = structure_words([f"preset={preset}"] if preset else [], VARTeacherSettings)
    if message is None:
        assert config_of(words, file).same_network(PRESETS["d20"][0])
    else:
        with pytest.raises(MisfitError, match=message):
            config_of(words, file)


def test_presets_that_no_weights_can_keep() -> None:
    file = Weights(TEACHER.model.state_dict(), {}, Path("mine.pth"))
    with pytest.raises(
        MisfitError, match=r"VAR of depth 2, no released one, not d16's; leave teacher.preset=d16 out"
    ):
        config_of(VARTeacherSettings(preset="d16"), file)
    with pytest.raises(ConfigError, match=r"unknown preset 'd17' .* d16"):
        structure_words(["preset=d17"], VARTeacherSettings)


def test_files_of_another_kind_are_called_by_their_name(tmp_path: Path) -> None:
    files = {
        "a VAR of depth 2": bare(tmp_path / "a.pth", TEACHER.model),
        "VAR's tokenizer": bare(tmp_path / "b.pth", TEACHER.tokenizer),
        "a DD1 student of VAR": bare(tmp_path / "c.pth", small_student(TEACHER)),
        "something else .its first keys: 'bias', 'weight'.": bare(tmp_path / "d.pth", nn.Linear(2, 2)),
    }
    for name, path in files.items():
        if name != "a VAR of depth 2":
            with pytest.raises(
                MisfitError, match=f"holds {name}, and a VAR is expected.* teacher.checkpoint=PATH"
            ):
                load_teacher(VARTeacherSettings(checkpoint=path), nothing_bundled)
        if name != "VAR's tokenizer":
            message = (
                f"holds {name}, and VAR's tokenizer is expected; "
                "give VAR's vae_ch160v4096z32.pth as tokenizer.checkpoint=PATH$"
            )
            with pytest.raises(MisfitError, match=message):
                load_tokenizer(VARTokenizerSettings(checkpoint=path), nothing_bundled)
        if name != "a DD1 student of VAR":
            message = f"holds {name}, and a DD1 student of VAR is expected.* student.checkpoint=PATH"
            with pytest.raises(MisfitError, match=message):
                load_published(VARDD1Settings(), TEACHER, read_weights(path))


def test_files_that_belong_elsewhere_are_sent_there(tmp_path: Path) -> None:
    expected = r"and a VAR is expected; give a VAR's file as teacher\.checkpoint=PATH"
    for module, place in (
        (TEACHER.tokenizer, "teacher.tokenizer.checkpoint"),
        (small_student(TEACHER), "student.checkpoint"),
    ):
        path = bare(tmp_path / "file.pth", module)
        with pytest.raises(MisfitError, match=rf"{expected}, and this one as {place}$"):
            load_teacher(VARTeacherSettings(checkpoint=path), nothing_bundled)


def test_a_tokenizer_of_another_size_is_refused(tmp_path: Path) -> None:
    path = bare(tmp_path / "var.pth", TEACHER.model)
    other = VARTokenizer(attrs.evolve(TEACHER.tokenizer.config, vocab=30))
    words = VARTeacherSettings(
        checkpoint=path, tokenizer=VARTokenizerSettings(checkpoint=tokenizer_file(tmp_path, other))
    )
    message = "have vocab 24 and their tokenizer's have 30; give .* as teacher.tokenizer.checkpoint"
    with pytest.raises(ConfigError, match=message):
        load_teacher(words, nothing_bundled)
    told = attrs.evolve(
        settings_of(tmp_path, path),
        tokenizer=VARTokenizerSettings(checkpoint=tokenizer_file(tmp_path), v_patch_nums=(1, 4)),
    )
    with pytest.raises(
        ConfigError, match=r"v_patch_nums=1,4 is not what the weights say, 1,2,4; leave it out"
    ):
        load_teacher(told, nothing_bundled)


def test_nothing_given_and_nothing_bundled() -> None:
    with pytest.raises(WeightsError, match=r"give teacher.checkpoint=PATH"):
        load_teacher(VARTeacherSettings(), nothing_bundled)
    with pytest.raises(WeightsError, match=r"give tokenizer.checkpoint=PATH"):
        load_tokenizer(VARTokenizerSettings(), nothing_bundled)


def test_too_many_tokens_are_refused_before_memory_is_taken() -> None:
    with pytest.raises(ConfigError, match="1000001 tokens, and at most 16384"):
        VARConfig(patch_nums=(1, 1000))
    with pytest.raises(ConfigError, match="at most 16384"):
        VARTokenizerConfig(patch_nums=(1, 1000))
