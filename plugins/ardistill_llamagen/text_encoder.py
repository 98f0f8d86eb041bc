"""Prompts to caption features, by a T5 encoder on this machine; needs the optional extra `ardistill[text]`.

LlamaGen's own encoder is google/flan-t5-xl. Nothing is downloaded. Prompts are lower-cased and stripped, which is
upstream's way without its text cleaning; that cleaning (DeepFloyd's: links, handles, unusual punctuation...) is not
applied here, so clean prompts that need it beforehand.

Shape legend: N prompts, T positions, E feature width.
Source: LlamaGen language/t5.py:T5Embedder; autoregressive/sample/sample_t2i.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ardistill.errors import DataError, PluginError, WeightsError
from ardistill.protocols import Condition
from ardistill.wording import message_of, shown
from ardistill_llamagen.captions import POSITIONS, left_padded

_BATCH = 16  # prompts encoded at once


def encode_prompts(
    prompts: Sequence[str],
    folder: Path,
    *,
    positions: int = POSITIONS,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Condition:
    """The prompts as a condition for N images: float32 features padded on the left to `positions`, and their mask.

    `folder` is a T5 encoder as transformers saves it (config.json, model*.safetensors, the tokenizer's files). `dtype`
    is the encoder's; upstream samples in bfloat16. A prompt of more tokens loses its end, but for the closing token.
    """
    if not prompts:
        raise DataError("there are no prompts to encode; give at least one")
    tokenizer, model = _load(folder, device, dtype)
    captions: list[Tensor] = []
    for first in range(0, len(prompts), _BATCH):
        batch = tokenizer(
            [prompt.lower().strip() for prompt in prompts[first : first + _BATCH]],
            max_length=positions,
            padding="max_length",
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(device)
        with torch.no_grad():
            features_NTE = model(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask
            ).last_hidden_state
        words_NT = batch.attention_mask.bool()
        captions += [row_TE[is_T].float() for row_TE, is_T in zip(features_NTE, words_NT, strict=True)]
    return left_padded(captions, positions)


def _load(folder: Path, device: torch.device | str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The tokenizer and the encoder of the folder."""
    try:
        from transformers import AutoTokenizer, T5EncoderModel
    except ImportError as error:
        raise PluginError(
            "prompts need the package transformers, which is not installed; run pip install 'ardistill[text]', "
            "or give caption features instead of prompts"
        ) from error
    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"there is no T5 encoder at {shown(str(folder))}; give the folder of one, with its config.json, "
            "e.g. a copy of google/flan-t5-xl"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, loaded = T5EncoderModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # transformers raises many kinds
        raise WeightsError(f"{folder} can't be read as a T5 encoder ({message_of(error)[:160]})") from error
    if loaded["missing_keys"]:  # transformers would draw them at random
        raise WeightsError(f"{folder} holds no T5 encoder: {min(loaded['missing_keys'])} is missing")
    return tokenizer, model.to(device=device, dtype=dtype).eval()
