"""Small fixtures whose numbers are known or come from this code."""

import json
import zlib
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.rotary import freqs_cis
from ardistill_llamagen.transformer import GPT
from ardistill_var.config import VARTokenizerConfig
from ardistill_var.tokenizer import VARTokenizer

from ardistill.protocols import Condition
from benchmarks.golden import fill

GPT_CONFIG = {
    "dim": 8,
    "n_layer": 1,
    "n_head": 2,
    "vocab_size": 6,
    "block_size": 4,
    "num_classes": 3,
    "cfg": [1.0],
}
LABELS = torch.tensor([2, 0, 1])
IDX = torch.tensor([[0, 5, 3, 3], [1, 1, 4, 2], [2, 0, 0, 5]])


def write(folder, name, info, arrays):
    described = {
        key: {"dtype": str(array.dtype), "shape": list(array.shape)} for key, array in arrays.items()
    }
    (folder / f"{name}.json").write_text(json.dumps(info | {"arrays": described}))
    np.savez(folder / f"{name}.npz", **arrays)


def rewritten(source, name, folder, change, info=None):
    """The fixture source/NAME with `change(arrays)` for arrays, and `info` over its json's words."""
    said = json.loads((source / f"{name}.json").read_text()) | (info or {})
    write(folder, name, said, change(dict(np.load(source / f"{name}.npz"))))


def altered(folder, name, array, by):
    """Adds to an array's first number."""
    arrays = dict(np.load(folder / f"{name}.npz"))
    arrays[array][(0,) * arrays[array].ndim] += by
    np.savez(folder / f"{name}.npz", **arrays)


def filters(folder, name="some filter", **more):
    logits = np.log(np.array([[[1, 2, 5], [6, 1, 1]]], dtype=np.float32))
    arrays = {
        "logits": logits,
        "probs_0": np.array([[[1, 2, 5], [6, 1, 1]]], dtype=np.float32) / 8,
        "probs_1": np.array([[[0, 2 / 7, 5 / 7], [0.75, 0.125, 0.125]]], dtype=np.float32),
    }
    arrays |= {key: value(arrays.get(key)) for key, value in more.items()}
    write(folder, name, {"cases": [{"top_k": 0, "top_p": 0}, {"top_k": 2, "top_p": 0.0}]}, arrays)


def phi(folder, last=3):
    (folder / "phi.json").write_text(json.dumps({"patterns": {"5": [0, 1, 2, 2, last], "4": [0, 1, 2, 3]}}))


def described(model, config, seed):
    """The json's words of a filled model."""
    keys = {
        key: {
            "shape": list(value.shape),
            "dtype": str(value.dtype).removeprefix("torch."),
            "crc32": zlib.crc32(value.numpy().tobytes()),
        }
        for key, value in model.state_dict().items()
    }
    n_params = sum(parameter.numel() for parameter in model.parameters())
    return {"config": config, "keys": keys, "weight_seed": seed, "n_params": n_params}


def as_recorded(tensors):
    """float32 and int32 arrays."""
    return {
        name: (value if value.is_floating_point() else value.int()).numpy() for name, value in tensors.items()
    }


@torch.no_grad()
def gpt(folder, name="gpt", **changes):
    """A tiny LlamaGen whose greedy tokens are found by running it anew for every token."""
    model = GPT(GPTConfig(**{key: value for key, value in GPT_CONFIG.items() if key != "cfg"})).eval()
    fill(model, 3)
    condition, tokens = Condition(LABELS), torch.zeros(3, 4, dtype=torch.long)
    for i in range(4):
        tokens[:, i] = model(tokens, condition)[:, i].argmax(-1)
    train = model(IDX, condition)
    tensors = {
        "label": LABELS,
        "idx": IDX,
        "train_logits": train,
        "train_loss": F.cross_entropy(train.flatten(0, 1), IDX.flatten()).view(1),
        "train_logits_null": model(IDX, condition, torch.ones(3, dtype=torch.bool)),
        "eval_logits": model.logits(model.hidden(IDX, condition)),
        "freqs_cis": freqs_cis(model.config),
        "gen_cfg1_idx": tokens,
        "gen_cfg1_logits": model(tokens, condition),
        "gen_argmax_idx": tokens,
        "gen_half_idx": tokens[:, :2],
    }
    info = described(model, GPT_CONFIG, 3) | {"calls": {"gen": "top_k=1"}}
    write(folder, name, info | changes, as_recorded(tensors))


@torch.no_grad()
def tokenizer(folder, share, name="tokenizer", patch_nums=(1, 2, 3)):
    """A tiny tokenizer of VAR whose scales share their convolutions as upstream's `share_quant_resi` says."""
    sizes = {"z_channels": 32, "ch": 32, "share_quant_resi": share}
    model = VARTokenizer(VARTokenizerConfig(patch_nums=patch_nums, vocab=16, **sizes))
    fill(model, 0)
    model.eval()
    side, ends, quantize = 16 * patch_nums[-1], list(accumulate(pn * pn for pn in patch_nums)), model.quantize
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    f = model.features(image)
    tokens, given = model.encode(image), torch.arange(ends[-1])[None] % 16
    codes, given_codes = model.codebook[tokens], model.codebook[given]
    tensors = {
        "image": image,
        "enc_out": model.encoder(image),
        "f": f,
        "var_input": quantize.inputs(codes),
        "rec_image": model.decode(codes),
        "rec_image_unclamped": model.images(quantize.map(codes)),
        "given_var_input": quantize.inputs(given_codes),
        "given_fhat_last": quantize.map(given_codes),
        "given_image_last": model.decode(given_codes),
        "given_image_s0": model.decode(given_codes[:, :1]),
        "train_vq_loss": model(image)[1].loss.view(1),
    }
    for s, end in enumerate(ends):
        part = slice(ends[s - 1] if s else 0, end)
        running = quantize.map(codes[:, :end])
        tensors |= {f"idx_s{s}": tokens[:, part], f"enc_fhat_s{s}": running, f"emb_fhat_s{s}": running}
        tensors |= {f"given_idx_s{s}": given[:, part], f"given_embed_s{s}": given_codes[:, part]}
    config = {"v_patch_nums": list(patch_nums), "vocab_size": 16, **sizes, "seed": 0}
    write(folder, name, described(model, config, 0), as_recorded(tensors))
