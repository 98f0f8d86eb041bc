"""The losses of the stages.

Shape legend: B batch, L tokens, V codes.
"""

from torch import Tensor


def soft_cross_entropy(
    log_p_BLV: Tensor, target_BLV: Tensor, weights_L: Tensor, weights_B: Tensor | None = None
) -> Tensor:
    """Nats a token of the student's distributions under given ones (log-probabilities), a mean weighted along L.

    `weights_B` multiplies an image's share of it.
    """
    nats_B = (-(target_BLV.exp() * log_p_BLV).sum(-1) * weights_L).sum(-1) / weights_L.sum()
    return (nats_B if weights_B is None else nats_B * weights_B).mean()


def reverse_kl(log_p_BLV: Tensor, student_BLV: Tensor, teacher_BLV: Tensor, *, bound: float) -> Tensor:
    """What moves the student along its reverse KL divergence from the teacher; a scalar.

    `student_BLV` and `teacher_BLV` are log-probabilities of the next token given the student's own earlier ones, the
    student's as a guidance network tells them; both are constants here. The divergence of whole sequences is the mean,
    over the student's, of sum_l log student(x_l | x_<l) - log teacher(x_l | x_<l). That difference is its first
    variation at a token, and since token l is drawn from `log_p_BLV`, the sum over tokens is taken in closed form: the
    place of the gap between two scores in DD2 (equation 4). Differences are cut at +-`bound`, since a token that the
    teacher's top-k has removed is infinitely unlikely. Earlier tokens get no gradient from later ones, as in DD2.
    """
    excess_BLV = (student_BLV - teacher_BLV).clamp(-bound, bound).detach()
    return (log_p_BLV.exp() * excess_BLV).sum(-1).mean()
