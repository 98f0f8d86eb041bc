"""VAR and its tokenizer as a fixture's json describes them."""

from collections.abc import Mapping
from typing import Any

from ardistill_var.config import VARConfig, VARTokenizerConfig
from ardistill_var.tokenizer import VARTokenizer
from golden import Fixture, fill

Config = Mapping[str, Any]


def tokenizer_config(config: Config) -> VARTokenizerConfig:
    """Names as upstream's VQVAE constructor has them; what is not said is as released."""
    names = {"v_patch_nums": "patch_nums", "vocab_size": "vocab"}
    known = {names.get(key, key): value for key, value in config.items()}
    return VARTokenizerConfig(**{key: _plain(known[key]) for key in _TOKENIZER if key in known})


def transformer_config(config: Config, keys: Config) -> VARConfig:
    """Names as upstream's VAR constructor has them; the codebook's size is read from the keys' shapes."""
    names = {"embed_dim": "width", "num_heads": "heads"}
    known = {names.get(key, key): value for key, value in config.items()}
    sizes = {"vocab": keys["head.weight"]["shape"][0], "code_width": keys["word_embed.weight"]["shape"][1]}
    return VARConfig(**sizes, **{key: _plain(known[key]) for key in _TRANSFORMER if key in known})


def golden_tokenizer(fixture: Fixture) -> VARTokenizer:
    """The tokenizer a transformer's fixture names: its sizes and seed are in `config.vqvae`."""
    config = fixture.config["vqvae"]
    tokenizer = VARTokenizer(tokenizer_config(config)).eval()
    fill(tokenizer, fixture.info.get("vqvae_weight_seed", config.get("seed", 0)))
    return tokenizer


_TOKENIZER = (
    "patch_nums",
    "vocab",
    "z_channels",
    "ch",
    "ch_mult",
    "num_res_blocks",
    "in_channels",
    "share_quant_resi",
    "quant_resi",
    "using_znorm",
    "beta",
)
_TRANSFORMER = (
    "depth",
    "width",
    "heads",
    "mlp_ratio",
    "patch_nums",
    "num_classes",
    "shared_aln",
    "attn_l2_norm",
    "norm_eps",
)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
