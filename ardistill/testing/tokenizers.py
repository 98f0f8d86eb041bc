"""What a tokenizer promises (`protocols.Tokenizer`).

Shape legend: B batch, L tokens, V codes, C code width, H W pixels.
"""

import attrs
import torch
from torch import Tensor

from ardistill.protocols import Tokenizer
from ardistill.testing import looking
from ardistill.testing.conformity import Case, Check, expect, expect_members
from ardistill.testing.looking import expect_close, expect_tensor

_LOUD = 3.0
"""How far beyond a standard normal latents may be."""
_SAME_TOKENS = 0.9
"""Share of tokens that another batch size leaves alone: rounding may move what lies between two codes."""
_BF16 = 0.25
"""Mean difference of pixels that bfloat16 may make."""


@attrs.frozen(eq=False)
class TokenizerSubject:
    tokenizer: Tokenizer
    n_steps: int = 1

    @property
    def device(self) -> torch.device:
        return self.tokenizer.codebook.device

    def tokens(self, case: Case) -> Tensor:
        """(B, L) at random."""
        return case.own(self.device).integers("token", len(self.tokenizer.codebook), self.tokenizer.n_tokens)

    def codes(self, case: Case) -> Tensor:
        """(B, L, C)."""
        return self.tokenizer.codebook[self.tokens(case)]

    def images(self, case: Case) -> Tensor:
        """(B, channels, H, W) uniform in [-1, 1]."""
        return 2 * case.own(self.device).uniform("image", *self.tokenizer.image_shape) - 1


def it_has_what_the_protocol_demands(subject: TokenizerSubject, case: Case) -> None:
    """A tokenizer has every name of protocols.Tokenizer, at least one token, and images of three sizes."""
    del case
    tokenizer = subject.tokenizer
    expect_members(tokenizer, Tokenizer)
    shape = tokenizer.image_shape
    whole = len(shape) == 3 and all(type(size) is int and size > 0 for size in shape)
    expect(whole, f"image_shape is {shape}, not three whole numbers above 0")
    n_tokens: object = tokenizer.n_tokens
    expect(type(n_tokens) is int and n_tokens > 0, f"n_tokens is {n_tokens!r}")


def the_codebook_is_a_table(subject: TokenizerSubject, case: Case) -> None:
    """The codebook is (V, C) float32, finite, without gradient, and the same whenever it is asked for."""
    del case
    codes_VC: object = subject.tokenizer.codebook
    expect(isinstance(codes_VC, Tensor), f"codebook is {type(codes_VC).__name__}")
    assert isinstance(codes_VC, Tensor)
    fits = codes_VC.ndim == 2 and codes_VC.dtype == torch.float32 and min(codes_VC.shape) > 0
    expect(fits, f"codebook is {looking.told(codes_VC)}")
    expect(bool(codes_VC.isfinite().all()), "codebook holds nan or infinity")
    expect(not codes_VC.requires_grad, "codebook requires a gradient; give it detached")
    looking.expect_same_twice(lambda: subject.tokenizer.codebook, "codebook")


def encode_gives_tokens(subject: TokenizerSubject, case: Case) -> None:
    """encode(images) is (B, L) int64 in 0..V-1, on the images' device."""
    tokens_BL = subject.tokenizer.encode(subject.images(case))
    shape = (case.batch, subject.tokenizer.n_tokens)
    expect_tensor(tokens_BL, shape, torch.int64, subject.device, "encode(images)")
    least, largest = int(tokens_BL.min()), int(tokens_BL.max())
    n_codes = len(subject.tokenizer.codebook)
    expect(least >= 0 and largest < n_codes, f"tokens {least}..{largest}, and there are {n_codes} codes")


def decode_gives_images(subject: TokenizerSubject, case: Case) -> None:
    """decode(codes) is (B, channels, H, W) float32, finite and within [-1, 1]."""
    _expect_images(subject, case, subject.codes(case), "decode(codebook[tokens])")


def decode_takes_any_latents(subject: TokenizerSubject, case: Case) -> None:
    """decode(latents) is finite and within [-1, 1] for latents that are no codes."""
    n_tokens, width = subject.tokenizer.n_tokens, subject.tokenizer.codebook.shape[1]
    latents_BLC = _LOUD * case.own(subject.device).normal("latent", n_tokens, width)
    _expect_images(subject, case, latents_BLC, f"decode({_LOUD:g} * noise)")


def _expect_images(subject: TokenizerSubject, case: Case, latents_BLC: Tensor, what: str) -> None:
    with torch.no_grad():
        images_BCHW = subject.tokenizer.decode(latents_BLC)
    shape = (case.batch, *subject.tokenizer.image_shape)
    expect_tensor(images_BCHW, shape, torch.float32, subject.device, what)
    _expect_range(images_BCHW, what)


def _expect_range(images_BCHW: Tensor, what: str) -> None:
    expect(bool(images_BCHW.isfinite().all()), f"nan or infinity in {what}")
    least, largest = float(images_BCHW.min()), float(images_BCHW.max())
    expect(least >= -1 and largest <= 1, f"{what} within [{least:.4g}, {largest:.4g}]")


def decode_passes_gradients(subject: TokenizerSubject, case: Case) -> None:
    """The decoder is differentiable in the latents, and leaves no gradient in the tokenizer."""
    latents_BLC, before = subject.codes(case).clone().requires_grad_(), looking.gradients(subject.tokenizer)
    images_BCHW = subject.tokenizer.decode(latents_BLC)
    expect(images_BCHW.requires_grad, "decode(latents) is cut off from the latents' gradient")
    images_BCHW.square().sum().backward()  # type: ignore[no-untyped-call]
    gradient_BLC = latents_BLC.grad
    expect(gradient_BLC is not None, "no gradient in the latents")
    assert gradient_BLC is not None
    expect(bool(gradient_BLC.isfinite().all()), "nan or infinity in the latents' gradient")
    expect(bool((gradient_BLC != 0).any()), "a gradient of 0 in all latents")
    looking.expect_no_gradients(before, subject.tokenizer, "the tokenizer")


def an_image_does_not_depend_on_its_batch(subject: TokenizerSubject, case: Case) -> None:
    """Both encode and decode give an image the same alone and in a batch, up to rounding."""
    tokenizer, codes_BLC, images_BCHW = subject.tokenizer, subject.codes(case), subject.images(case)
    with torch.no_grad():
        whole_BCHW, tokens_BL = tokenizer.decode(codes_BLC), tokenizer.encode(images_BCHW)
        for row in range(case.batch):
            one = slice(row, row + 1)
            said = f"image {row} of decode(codes) differs from the one decoded alone"
            expect_close(tokenizer.decode(codes_BLC[one]), whole_BCHW[one], said)
            same = float((tokenizer.encode(images_BCHW[one]) == tokens_BL[one]).double().mean())
            said = f"{1 - same:.0%} of image {row}'s tokens differ from those encoded alone"
            expect(same >= _SAME_TOKENS, said)


def the_same_comes_out_again(subject: TokenizerSubject, case: Case) -> None:
    """Both encode and decode give the same bits whatever the global generators are seeded with."""
    codes_BLC, images_BCHW = subject.codes(case), subject.images(case)
    with torch.no_grad():
        looking.expect_same_twice(lambda: subject.tokenizer.decode(codes_BLC), "decode(codes)")
        looking.expect_same_twice(lambda: subject.tokenizer.encode(images_BCHW), "encode(images)")


def a_round_trip_stays_among_images(subject: TokenizerSubject, case: Case) -> None:
    """What was decoded can be encoded, and decoded again."""
    tokenizer = subject.tokenizer
    with torch.no_grad():
        tokens_BL = tokenizer.encode(tokenizer.decode(subject.codes(case)))
        shape = (case.batch, tokenizer.n_tokens)
        expect_tensor(tokens_BL, shape, torch.int64, subject.device, "encode(decode(codes))")
        _expect_range(
            tokenizer.decode(tokenizer.codebook[tokens_BL]), "decode(codebook[encode(decode(codes))])"
        )


def it_works_in_bfloat16(subject: TokenizerSubject, case: Case) -> None:
    """Under bfloat16's autocast, decode stays finite, within [-1, 1] and near float32."""
    codes_BLC = subject.codes(case)
    with torch.no_grad():
        plain_BCHW = subject.tokenizer.decode(codes_BLC)
        with torch.autocast(subject.device.type, torch.bfloat16):
            rough_BCHW = subject.tokenizer.decode(codes_BLC)
    _expect_range(rough_BCHW, "decode(codes)")
    apart = float((rough_BCHW.float() - plain_BCHW).abs().mean())
    expect(apart <= _BF16, f"pixels {apart:.3g} away from float32's on average")


def nothing_given_is_changed(subject: TokenizerSubject, case: Case) -> None:
    """Both encode and decode change neither their arguments nor the tokenizer."""
    codes_BLC, images_BCHW = subject.codes(case), subject.images(case)
    before = looking.all_bits(subject.tokenizer)
    given = {"latents": looking.bits(codes_BLC), "images": looking.bits(images_BCHW)}
    with torch.no_grad():
        subject.tokenizer.decode(codes_BLC)
        subject.tokenizer.encode(images_BCHW)
    looking.expect_unchanged(given, {"latents": codes_BLC, "images": images_BCHW}, "encode or decode")
    looking.expect_unchanged(before, subject.tokenizer, "encode or decode of the tokenizer")


def it_moves_to_a_device(subject: TokenizerSubject, case: Case) -> None:
    """to(device) gives the tokenizer itself or one like it, whose codebook is there."""
    moved: object = subject.tokenizer.to(subject.device)
    expect(isinstance(moved, Tokenizer), f"to(device) gives {type(moved).__name__}, which is no tokenizer")
    assert isinstance(moved, Tokenizer)
    there = moved.codebook.device
    expect(there == subject.device, f"its codebook on {there} instead of {subject.device}")
    with torch.no_grad():
        moved.decode(subject.codes(case))


CHECKS: tuple[Check[TokenizerSubject], ...] = (
    Check(it_has_what_the_protocol_demands, examples=0, gate=True),
    Check(the_codebook_is_a_table, examples=0, gate=True),
    Check(encode_gives_tokens),
    Check(decode_gives_images),
    Check(decode_takes_any_latents),
    Check(decode_passes_gradients),
    Check(an_image_does_not_depend_on_its_batch),
    Check(the_same_comes_out_again),
    Check(a_round_trip_stays_among_images),
    Check(it_works_in_bfloat16),
    Check(nothing_given_is_changed),
    Check(it_moves_to_a_device, examples=0),
)
