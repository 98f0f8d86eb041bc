"""TorchScript archives such as OpenAI publishes, with the encoders of tiny CLIPs in them."""

import warnings

import torch
from torch import nn
from torch_fidelity.feature_extractor_clip import CLIPVisual

from tests.fidelity.making import ruled

TINY = {"vit": (24, 32, 2, 64, 8), "resnet": (24, 64, (1, 2, 1, 1), 8, None)}
"""Features, pixels, blocks, width, patch."""


class Bare(nn.Module):
    """Tensors by name, as deep as the names are; a program without instructions."""

    def __init__(self, tensors):
        super().__init__()
        parts = {}
        for name, value in tensors.items():
            first, _, rest = name.partition(".")
            if rest:
                parts.setdefault(first, {})[rest] = value
            elif value.is_floating_point():
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        for name, inner in parts.items():
            self.add_module(name, Bare(inner))


def write_archive(path, tensors):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but OpenAI's files stay
        torch.jit.save(torch.jit.script(Bare(tensors)), str(path))


def clip_tensors(kind, dtype=torch.float16):
    """What a file of CLIP holds: the image encoder's tensors and, beside them, some of the caption encoder's."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in CLIPVisual(*TINY[kind]).state_dict().items()}
    counters = {key: torch.tensor(3) for key in shapes if key.endswith("num_batches_tracked")}
    numbers = {key: shape for key, shape in shapes.items() if key not in counters}
    captions = {"text_projection": torch.Size([16, 24]), "ln_final.weight": torch.Size([16])}
    sizes = {"input_resolution": torch.tensor(TINY[kind][1]), "vocab_size": torch.tensor(49408)}
    return ruled(numbers | captions, dtype=dtype) | counters | sizes
