"""What a few-step generator has to beat: the last steps drawn in parallel, from token frequencies.

`onestep*` draws every token on its own from the frequencies of its class and position (DD1, arXiv 2412.17153,
proposition 3.1: no parallel predictor of distributions does better). `skip-n` lets the teacher emit all steps but the
last n, and draws those so (DD1's skip baselines).

Shape legend: B batch, L tokens, l tokens of the steps drawn in parallel, V codes, C code width, n classes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ardistill.errors import ConfigError
from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Condition, Jump, Prediction, Progress, Schedule
from ardistill.sampling import Marginals, categorical, teacher_tokens
from ardistill.schedules import baseline, skipped

_BATCH = 500


class Frequencies(nn.Module):
    """A `Student` that looks up a table: the baseline of that `name`, ready for its frequencies."""

    jumps: tuple[Jump, ...] = ()
    log_p: Tensor
    """(n, l, V): log-frequencies, -inf for what was never drawn."""
    codes_VC: Tensor

    def __init__(self, name: str, teacher: ARTeacher) -> None:
        super().__init__()
        layout, codes_VC = teacher.layout, teacher.tokenizer.codebook
        self.name = name
        self.schedules: Mapping[str, Schedule] = {name: baseline(name, layout.n_steps)}
        parallel = skipped(name)
        self.start = 0 if parallel is None else layout.n_steps - parallel
        self.cut = layout.offset(self.start)
        size = (teacher.n_classes, layout.n_tokens - self.cut, len(codes_VC))
        self.register_buffer("log_p", torch.zeros(size, device=codes_VC.device))
        self.register_buffer("codes_VC", codes_VC, persistent=False)

    def jump(self, latents_BLC: Tensor, condition: Condition, start: int = 0) -> Prediction:
        """A token is a function of the first number of its own noise, which Phi makes uniform."""
        if start != self.start:
            raise ValueError(f"{self.name} starts from step {self.start}, not from step {start}")
        uniform_Bl = torch.special.ndtr(latents_BLC[:, self.cut :, 0])
        tokens_Bl = categorical(self.log_p[condition.require_labels()], uniform_Bl)
        return Prediction(torch.cat([latents_BLC[:, : self.cut], self.codes_VC[tokens_Bl]], dim=1))


def check_samples(n: int, teacher: ARTeacher, what: str) -> None:
    """Whether n samples, the classes in turn, leave no class without one; `what` is the word that says n."""
    if n < teacher.n_classes:
        raise ConfigError(
            f"{what}={n} leaves some of the {teacher.n_classes} classes without a sample; "
            f"give at least {teacher.n_classes}, and better 20 times as many"
        )


@torch.no_grad()
def count(
    students: Sequence[Frequencies],
    teacher: ARTeacher,
    n: int,
    seed: int,
    stream: str,
    progress: Progress,
    what: str = "teacher samples",
) -> None:
    """Fills the tables of all `students` from the same n teacher samples, the classes in turn.

    `what` is what the progress is called.
    """
    cut = min(student.cut for student in students)
    tokens, labels = [], []
    for first in range(0, n, _BATCH):
        draw = Draw(seed, stream, first, min(_BATCH, n - first), teacher.tokenizer.codebook.device)
        labels_B = draw.indices() % teacher.n_classes
        uniform_BL = draw.uniform("token", teacher.layout.n_tokens)
        tokens.append(teacher_tokens(teacher, Condition(labels_B), uniform_BL)[:, cut:].cpu())
        labels.append(labels_B.cpu())
        progress.advance(first + len(draw), n, what)
    n_codes = len(teacher.tokenizer.codebook)
    table = Marginals.of(torch.cat(tokens), torch.cat(labels), teacher.n_classes, n_codes)
    for student in students:
        student.log_p.copy_(table.log_p_nLV[:, student.cut - cut :])
