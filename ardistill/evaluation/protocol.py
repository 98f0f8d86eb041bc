"""How a row was measured: all that makes two distances comparable, and a short mark for it.

Published figures of the very same model differ by a half (VAR-d16: 3.55, 4.15, 4.19) because this was not written down.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import attrs

Labels = Literal["balanced", "random"]
"""Image i shows class i modulo the number of classes, or a class drawn uniformly."""


@attrs.frozen
class Protocol:
    """What a row's figures depend on besides the generator itself.

    `name` is the preset's, with the words that were said otherwise. `reference` says where the real images are from,
    and `reference_sha256` hashes what they are made of; `reference_n` of them there are, None where a file of
    statistics does not tell, and `reference_images` are behind KID, precision and recall, None where no image is known.
    `features_digest` is of the feature network's weights, `decoder` the precision of the decoded images. `guidance` is
    the teacher's: the distribution that is distilled. `metrics` has the settings of further figures. `seed` draws the
    samples; it alone may differ between rows that are compared.
    """

    name: str
    n: int
    labels: Labels
    seed: int
    reference: str
    reference_sha256: str
    reference_n: int | None
    resize: str
    features: str
    features_digest: str
    guidance: Mapping[str, Any]
    decoder: str = "float32"
    kid: str = ""
    neighbours: int = 3
    splits: int = 10
    held_out: str | None = None
    ppl: str = ""
    reference_images: int | None = None
    metrics: Mapping[str, Any] = attrs.field(factory=dict)

    def told(self) -> dict[str, Any]:
        """What has to agree for two rows to share a column: a reference is told by its hash, not its path."""
        return {
            name: value for name, value in attrs.asdict(self).items() if name not in {"seed", "reference"}
        }

    @property
    def key(self) -> str:
        """Eight hex digits, equal for protocols that agree in all but the seed."""
        words = json.dumps(self.told(), sort_keys=True, default=str)
        return hashlib.sha256(words.encode()).hexdigest()[:8]

    def differences(self, other: "Protocol") -> dict[str, tuple[Any, Any]]:
        """By field, ours and theirs, where the two do not agree."""
        theirs = other.told()
        return {name: (value, theirs[name]) for name, value in self.told().items() if value != theirs[name]}
