"""How training uses the machine: what changes its speed and its memory, and nothing of what is learned."""

from typing import Literal

import attrs
from attrs.validators import ge, in_

Precision = Literal["fp32", "bf16", "fp16"]
Parallel = Literal["ddp", "fsdp"]


@attrs.frozen
class TrainConfig:
    """Beneath `train`. A run may go on under other words of this section than it began with."""

    parallel: Parallel = attrs.field(default="ddp", validator=in_(("ddp", "fsdp")))
    """How several processes hold what is trained: each a copy, or each a shard of every block's weights, averages,
    gradients and Adam's state, in less memory and with more talk between them (FSDP2). One process holds all."""
    precision: Precision = attrs.field(default="fp32", validator=in_(("fp32", "bf16", "fp16")))
    """Of the losses' matrix products; weights, their averages and the optimisers' state stay float32."""
    compile: bool = False
    """The trained networks' blocks through torch.compile, which takes a minute or two once."""
    checkpointing: bool = False
    """The trained networks' blocks keep their inputs alone, and run once more on the way back."""
    micro_batch: int = attrs.field(default=0, validator=ge(0))
    """Images that a process puts through at once, gradients adding up over its share; 0 is the whole share."""
    prefetch: bool = True
    """A thread makes the next micro-batch's random numbers beside this one's work."""
