"""What plugins promise one another, in three rooms: what generates, what trains, what judges.

The small records they exchange are in `values` and can be had from here. What launchers promise is in
`ardistill.launchers`, which needs no torch.

Shape legend: B batch, L tokens, l tokens of one step, K steps, V codes, C code width, D trunk width, H W pixels,
T caption positions, E caption feature width.

Vocabulary: an image is L *tokens*, numbered in the order of emission; a token is an index into the codebook, a *code*
is the vector it stands for; *latents* are (B, L, C) vectors: codes where data, noise where not yet generated. A *step*
is what the teacher emits at once. Time in the flow: t = 0 is data, t = 1 is noise, x_t = (1 - t) c + t eps.
"""

from ardistill.protocols.generating import (
    ARTeacher,
    Cursor,
    Jumper,
    Student,
    Tokenizer,
    Trunk,
    WeightsFinder,
)
from ardistill.protocols.judging import Dataset, FeatureNetwork, Metric, Split
from ardistill.protocols.training import Callback, DistillMethod, Draw, Phase, Progress
from ardistill.records import Alignment
from ardistill.schedules import Jump, Jumps, Redraw, Schedule
from ardistill.values import (
    Condition,
    Guidance,
    Prediction,
    Role,
    RunContext,
    StepLayout,
    StudentSpec,
    Trajectory,
)

__all__ = [
    "ARTeacher",
    "Alignment",
    "Callback",
    "Condition",
    "Cursor",
    "Dataset",
    "DistillMethod",
    "Draw",
    "FeatureNetwork",
    "Guidance",
    "Jump",
    "Jumper",
    "Jumps",
    "Metric",
    "Phase",
    "Prediction",
    "Progress",
    "Redraw",
    "Role",
    "RunContext",
    "Schedule",
    "Split",
    "StepLayout",
    "Student",
    "StudentSpec",
    "Tokenizer",
    "Trajectory",
    "Trunk",
    "WeightsFinder",
]
