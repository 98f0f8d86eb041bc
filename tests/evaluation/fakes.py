"""A teacher whose tokens are independent given the class, so that everything about it can be written down.

Legend: B batch, L tokens, V codes, C code width, Z classes.
"""

import torch
from torch import Tensor

from ardistill.evaluation.drawing import Candidate
from ardistill.noise import Draw
from ardistill.protocols import Guidance, StepLayout

L, V, C, Z = 4, 5, 3, 3


def fixed(*shape, key=0):
    return Draw(7, f"fakes/{key}", 0, 1).normal("x", *shape)[0]


class FakeTokenizer:
    codebook = fixed(V, C, key="codes")
    n_tokens = L
    image_shape = (1, 4, 4)

    def encode(self, images_BCHW):
        raise NotImplementedError

    def decode(self, latents_BLC):
        return torch.tanh(latents_BLC.flatten(1) @ fixed(L * C, 16, key="decoder")).reshape(-1, 1, 4, 4)

    def to(self, device):
        return self


class FakeTeacher:
    """P(token at l) = softmax(2 * fixed)_zl; code 0 is filtered at position 0."""

    tokenizer = FakeTokenizer()
    layout = StepLayout((1,) * L)
    guidance = Guidance(scale=0.5)
    n_classes = Z

    def __init__(self):
        logits_ZLV = 2 * fixed(Z, L, V, key="teacher")
        logits_ZLV[:, 0, 0] = -torch.inf
        self.log_p_ZLV = logits_ZLV.log_softmax(-1)

    def log_probs(self, condition, latents_BLC):
        return self.log_p_ZLV[condition.require_labels()]

    def sample(self, labels_B, draw, mixed=0.0):
        """Tokens of the teacher, or of the mean over classes with probability `mixed`."""
        p_ZLV = (1 - mixed) * self.log_p_ZLV.exp() + mixed * self.log_p_ZLV.exp().mean(0)
        u_BL1 = draw.uniform("u", L).unsqueeze(-1)
        return (p_ZLV[labels_B].cumsum(-1) < u_BL1).sum(-1).clamp(max=V - 1)

    def candidate(self, name, mixed=0.0, **fields):
        def generate(labels_B, draw):
            return self.tokenizer.codebook[self.sample(labels_B, draw, mixed)]

        return Candidate(name, passes=1, generate=generate, **fields)


class FakeFeatures:
    name = "fake"
    n_features = 6

    def __call__(self, images_BCHW: Tensor):
        pixels = images_BCHW.flatten(1)
        weights = fixed(pixels.shape[1], 6 + Z, key="features")
        return (pixels @ weights).relu()[:, :6] + 0.1 * pixels[:, :6], (pixels @ weights)[:, 6:]


class FakeDataset:
    """Real images: the teacher's own decoded samples; in the held-out split a little brighter."""

    name = "fakes"
    n_classes = Z
    image_shape = (1, 4, 4)
    features = "fake"
    splits = ("train", "test")
    sha256 = 64 * "0"

    def __init__(self, teacher):
        self.teacher = teacher

    def folder(self, split):
        return None

    def images(self, split, draw, labels_B=None):
        labels_B = draw.integers("label", Z) if labels_B is None else labels_B
        images = self.teacher.tokenizer.decode(
            self.teacher.tokenizer.codebook[self.teacher.sample(labels_B, draw)]
        )
        return (images + (0.05 if split == "test" else 0)).clamp(-1, 1), labels_B


class Silence:
    def __init__(self):
        self.told = []

    def advance(self, done, total, what):
        self.told.append((done, total, what))
