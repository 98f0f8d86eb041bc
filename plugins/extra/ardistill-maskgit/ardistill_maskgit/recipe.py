"""The words of `ardistill pretrain maskgit`. No torch here. README.md says what the choices were tried against."""

from collections.abc import Mapping

import attrs
from ardistill_digits.config import SHARE, TransformerRecipe
from attrs.validators import and_, ge, gt, le


@attrs.frozen(kw_only=True)
class MaskGITRecipe(TransformerRecipe):
    """The transformer on the tokens of the digits' bundled LlamaGen tokenizer, and how it samples."""

    seed: int = attrs.field(default=0, validator=and_(ge(0), le(2**63 - 1)))
    quick: bool = False
    """A file of the right form and poor quality, for tests."""
    depth: int = attrs.field(default=4, validator=ge(1))
    lr: float = attrs.field(default=5e-3, validator=gt(0.0))
    random: float = attrs.field(default=0.1, validator=SHARE)
    """Share of images that are masked at random places, as MaskGIT has it; the others have masks that decoding in
    `steps` steps meets."""
    steps: int = attrs.field(default=5, validator=ge(1))
    cfg: float = attrs.field(default=0.25, validator=ge(0.0))
    temperature: float = attrs.field(default=1.0, validator=gt(0.0))

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        return {"quick": {"copies": 4, "images": 9_600}}
