"""Markov chains of tokens, small enough to be known whole.

Legend: B batch, l or L tokens, V codes, C code width, Y classes, S = V^L sequences (the last token varies
fastest), H = V^k histories of k tokens (likewise). Everything is float64 on the CPU until it is handed out.
"""

import math

import attrs
import torch
from torch import Tensor

from ardistill.sampling import categorical

_LARGEST_JOINT = 1 << 24


@attrs.frozen(eq=False)
class Chain:
    """p(token | class, the last k tokens), by table.

    `tables[k]` is (Y, V^k, V): log-probabilities after a history of k tokens; position i (from 0) uses
    `tables[min(i, order)]`, where the order is `len(tables) - 1`.
    """

    codes_VC: Tensor
    tables: tuple[Tensor, ...]
    n_tokens: int

    @property
    def order(self) -> int:
        return len(self.tables) - 1

    @property
    def n_codes(self) -> int:
        return self.codes_VC.shape[0]

    @property
    def n_classes(self) -> int:
        return self.tables[0].shape[0]

    def next_log_probs(self, labels_B: Tensor, prefix_Bl: Tensor) -> Tensor:
        """(B, V) float32: the distribution of the token after the given ones."""
        k = min(prefix_Bl.shape[1], self.order)
        history_B = torch.zeros_like(labels_B)
        for token_B in prefix_Bl[:, prefix_Bl.shape[1] - k :].unbind(1):
            history_B = history_B * self.n_codes + token_B
        return self.tables[k].to(labels_B.device)[labels_B, history_B].float()

    def log_probs(self, labels_B: Tensor, tokens_BL: Tensor) -> Tensor:
        """(B, L, V) float32: every token's distribution given its predecessors."""
        return torch.stack(
            [self.next_log_probs(labels_B, tokens_BL[:, :i]) for i in range(tokens_BL.shape[1])], dim=1
        )

    def log_joint(self) -> Tensor:
        """(Y, S) float64: the log-probability of every sequence."""
        n_sequences = self.n_codes**self.n_tokens
        if n_sequences * self.n_classes > _LARGEST_JOINT:
            raise ValueError(f"a joint of {n_sequences} sequences is too large to write down")
        joint_YS = self.tables[0].reshape(self.n_classes, self.n_codes)
        for i in range(1, self.n_tokens):
            k = min(i, self.order)
            earlier = self.n_codes ** (i - k)
            table_YS = self.tables[k].reshape(self.n_classes, 1, -1, self.n_codes)
            history_YS = joint_YS.reshape(self.n_classes, earlier, -1, 1)
            joint_YS = (history_YS + table_YS).reshape(self.n_classes, -1)
        return joint_YS

    def marginals(self) -> Tensor:
        """(Y, L, V) float64: each position's own distribution, by the forward recursion over histories."""
        history_YH = torch.ones(self.n_classes, 1, dtype=torch.float64)
        found = []
        for i in range(self.n_tokens):
            k = min(i, self.order)
            joint_YHV = history_YH.unsqueeze(-1) * self.tables[k].exp()
            found.append(joint_YHV.sum(1))
            if k == self.order and k > 0:  # forget the oldest token
                joint_YHV = joint_YHV.reshape(self.n_classes, self.n_codes, -1).sum(1)
            history_YH = joint_YHV.reshape(self.n_classes, -1) if self.order else history_YH
        return torch.stack(found, dim=1)

    def sample(self, labels_B: Tensor, uniform_BL: Tensor) -> Tensor:
        """(B, L) int64 tokens, one from each conditional in turn."""
        tokens_BL = labels_B.new_zeros((len(labels_B), 0))
        for uniform_B in uniform_BL.unbind(1):
            token_B = categorical(self.next_log_probs(labels_B, tokens_BL), uniform_B)
            tokens_BL = torch.cat([tokens_BL, token_B.unsqueeze(1)], dim=1)
        return tokens_BL

    def sample_independent(self, labels_B: Tensor, uniform_BL: Tensor) -> Tensor:
        """(B, L) int64 tokens drawn from the marginals alone: all that a student without context could do."""
        log_p_BLV = self.marginals().log()[labels_B.cpu()].float().to(labels_B.device)
        return categorical(log_p_BLV, uniform_BL)

    def nll(self, labels_B: Tensor, tokens_BL: Tensor) -> Tensor:
        """(B,): -log p of whole sequences."""
        log_p_BLV = self.log_probs(labels_B, tokens_BL)
        return -log_p_BLV.gather(-1, tokens_BL.unsqueeze(-1)).squeeze(-1).sum(1)


def sparse_chain(seed: int, n_tokens: int, n_classes: int, sharpness: float) -> Chain:
    """Order 2; codes are the corners of the cube [-1, 1]^3, every conditional a softmax of normal logits."""
    rng = torch.Generator().manual_seed(seed)
    codes_VC = torch.cartesian_prod(*(torch.tensor([-1.0, 1.0]),) * 3)
    n_codes = len(codes_VC)
    tables = tuple(
        (
            sharpness * torch.randn(n_classes, n_codes**k, n_codes, generator=rng, dtype=torch.float64)
        ).log_softmax(-1)
        for k in range(min(3, n_tokens))
    )
    return Chain(codes_VC, tables, n_tokens)


def dense_chain(side: int, n_tokens: int, spread: float, turn_degrees: float) -> Chain:
    """Order 1; codes are a grid of unit variance.

    The first token lies on a smooth ring; each later one is near its predecessor turned by plus or minus
    `turn_degrees`, the mode to the left twice as likely.
    """
    axis = torch.linspace(-1, 1, side, dtype=torch.float64)
    axis = axis / axis.std(correction=0)
    codes_VC = torch.cartesian_prod(axis, axis)
    ring_V = -(codes_VC.norm(dim=1) - 1.2).square() / (2 * spread**2)
    modes = []
    for degrees, weight in ((turn_degrees, 2 / 3), (-turn_degrees, 1 / 3)):
        angle = math.radians(degrees)
        turn = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
        )
        distance_VV = torch.cdist(codes_VC @ turn.T, codes_VC)
        modes.append(math.log(weight) + (-distance_VV.square() / (2 * spread**2)).log_softmax(-1))
    follow_VV = torch.stack(modes).logsumexp(0)
    tables = (ring_V.log_softmax(-1).reshape(1, 1, -1), follow_VV.unsqueeze(0))
    return Chain(codes_VC.float(), tables[: min(2, n_tokens)], n_tokens)
