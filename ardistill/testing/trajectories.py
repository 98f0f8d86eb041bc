"""What a trajectory promises (`records.TrajectoryOffer`, `values.Trajectory`): tokens that belong to noise.

Shape legend: B batch, L tokens, V codes, C code width.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import torch
from torch import Tensor

from ardistill.flow import nearest_code
from ardistill.noise import Draw
from ardistill.protocols import Trajectory
from ardistill.testing import looking
from ardistill.testing.conformity import Case, Check, expect
from ardistill.testing.looking import expect_tensor
from ardistill.testing.practice import Quiet
from ardistill.testing.subjects import TeacherSubject
from ardistill.trajectories.pairs import Pairing, Pairs

_STORED = 5
"""Pairs that are stored and read."""


@attrs.define(eq=False)
class TrajectorySubject:
    """A trajectory of the teacher's tokens; `of_noise` says that noise and condition alone decide them."""

    pairing: Pairing
    of: TeacherSubject
    of_noise: bool = False

    @property
    def n_steps(self) -> int:
        """The states, from pure noise to all data."""
        return self.of.n_steps + 1

    def tokens(self, case: Case, rows: slice = slice(None), draw: Draw | None = None) -> Tensor:
        """(B, L): those of the case's images, or of some rows, each from its own numbers."""
        first, end, _ = rows.indices(case.batch)
        draw = draw or case.draw(self.of.device, first=first, count=end - first)
        condition, noise_BLC = self.of.condition(case)[rows], self.of.noise(case)[rows]
        made: Any = self.pairing.make(self.pairing.settings, self.of.teacher, condition, noise_BLC, draw)
        shape = (end - first, self.of.teacher.layout.n_tokens)
        expect_tensor(made, shape, torch.int64, self.of.device, "the tokens")
        tokens_BL: Tensor = made
        return tokens_BL


def tokens_are_of_the_codebook(subject: TrajectorySubject, case: Case) -> None:
    """The tokens are (B, L) int64 in 0..V-1."""
    tokens_BL = subject.tokens(case)
    n_codes = len(subject.of.teacher.tokenizer.codebook)
    least, largest = int(tokens_BL.min()), int(tokens_BL.max())
    expect(least >= 0 and largest < n_codes, f"tokens {least}..{largest}, and there are {n_codes} codes")


def tokens_have_a_chance(subject: TrajectorySubject, case: Case) -> None:
    """The teacher gives every token a probability above 0, after those before it."""
    tokens_BL = subject.tokens(case)
    log_p_BLV = subject.of.log_probs(case, tokens_BL)
    chosen_BL = log_p_BLV.gather(-1, tokens_BL.unsqueeze(-1)).squeeze(-1)
    impossible = int((chosen_BL == -torch.inf).sum())
    expect(not impossible, f"{impossible} tokens that the teacher never draws there")


def seed_and_index_decide_a_pair(subject: TrajectorySubject, case: Case) -> None:
    """The same seed and numbers of images give the same tokens, whatever the global generators are seeded with."""
    looking.expect_same_twice(lambda: subject.tokens(case), "the tokens")


def a_pair_does_not_depend_on_its_batch(subject: TrajectorySubject, case: Case) -> None:
    """An image's tokens are the same alone and in a batch."""
    tokens_BL = subject.tokens(case)
    for row in range(case.batch):
        one = slice(row, row + 1)
        differing = int((subject.tokens(case, one) != tokens_BL[one]).sum())
        expect(not differing, f"{differing} tokens of image {row} differ from those it has alone")


def noise_decides_where_it_is_said_to(subject: TrajectorySubject, case: Case) -> None:
    """Where the offer says of_noise, the draw plays no part."""
    if subject.of_noise:
        other = Draw(case.seed + 1, "testing/other", 7, case.batch, subject.of.device)
        differing = int((subject.tokens(case, draw=other) != subject.tokens(case)).sum())
        expect(not differing, f"{differing} tokens that changed with the draw")


def states_are_data_then_noise(subject: TrajectorySubject, case: Case) -> None:
    """state(k) has the codes of the first k steps, from which their tokens can be read, and the noise of the rest."""
    teacher, tokens_BL, noise_BLC = subject.of.teacher, subject.tokens(case), subject.of.noise(case)
    codes_VC, cut = teacher.tokenizer.codebook, teacher.layout.offset(case.step)
    pair = Trajectory(subject.of.condition(case), noise_BLC, tokens_BL, teacher.layout)
    state_BLC = pair.state(case.step, codes_VC)
    read_Bl = codes_VC[nearest_code(state_BLC[:, :cut], codes_VC)]
    apart = max(
        looking.furthest(read_Bl, codes_VC[tokens_BL[:, :cut]]),
        looking.furthest(state_BLC[:, cut:], noise_BLC[:, cut:]),
    )
    expect(apart == 0, f"state({case.step}) is another by {apart:.3g}")


def pairs_can_be_stored(subject: TrajectorySubject, case: Case) -> None:
    """Pairs collected in batches of two, stored and read are those collected at once."""
    del case
    if not subject.of.teacher.n_classes:
        return  # pairs are stored for classes alone
    with TemporaryDirectory() as folder:
        taken = [_collected(subject, Path(folder) / str(batch), batch) for batch in (2, _STORED)]
    differing = int((taken[0] != taken[1]).sum())
    expect(
        not differing,
        f"{differing} of the tokens of {_STORED} pairs differ between batches of 2 and {_STORED}",
    )


def _collected(subject: TrajectorySubject, folder: Path, batch: int) -> Tensor:
    pairs = Pairs.at(folder, subject.of.teacher, subject.pairing, seed=0)
    pairs.collect(_STORED, batch=batch, progress=Quiet())
    return pairs.take(torch.arange(_STORED)).tokens_BL


def nothing_given_is_changed(subject: TrajectorySubject, case: Case) -> None:
    """Making tokens changes neither the noise, nor the condition, nor the teacher."""
    given = {
        "noise": subject.of.noise(case),
        "condition": subject.of.condition(case),
        "teacher": subject.of.teacher,
    }
    before, draw = looking.all_bits(given), case.draw(subject.of.device)
    pairing = subject.pairing
    pairing.make(pairing.settings, subject.of.teacher, given["condition"], given["noise"], draw)
    looking.expect_unchanged(before, given, "the trajectory")


CHECKS: tuple[Check[TrajectorySubject], ...] = (
    Check(tokens_are_of_the_codebook, gate=True),
    Check(tokens_have_a_chance),
    Check(seed_and_index_decide_a_pair),
    Check(a_pair_does_not_depend_on_its_batch),
    Check(noise_decides_where_it_is_said_to),
    Check(states_are_data_then_noise),
    Check(pairs_can_be_stored, examples=0),
    Check(nothing_given_is_changed, examples=0),
)
