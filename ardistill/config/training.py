"""How training uses the machine: what changes its speed and its memory, and nothing of what is learned."""

from typing import Literal

import attrs
from attrs.validators import ge, in_

Precision = Literal["fp32", "bf16", "fp16"]


@attrs.frozen
class TrainConfig:
    """Beneath `train`. A run may go on under other words of this section than it began with."""

    precision: Precision = attrs.field(default="fp32", validator=in_(("fp32", "bf16", "fp16")))
    """Of the losses' matrix products; weights, their averages and the optimisers' state stay float32."""
    compile: bool = False
    """The trained networks' blocks through torch.compile, which takes a minute or two once."""
    checkpointing: bool = False
    """The trained networks' blocks keep their inputs alone, and run once more on the way back."""
    micro_batch: int = attrs.field(default=0, validator=ge(0))
    """Images that a process puts through at once, gradients adding up over its share; 0 is the whole share."""
