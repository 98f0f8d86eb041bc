"""The records that plugins exchange."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ardistill.noise import Draw
from ardistill.protocols import Condition, StepLayout, Trajectory

CODES_VC = Draw(0, "codes", 0, 1).normal("c", 9, 3)[0]


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 2**32), data=st.data())
def test_a_state_is_data_up_to_its_step_and_the_trajectorys_own_noise_after(sizes, seed, data):
    layout = StepLayout(tuple(sizes))
    draw = Draw(seed, "trajectory", 0, 2)
    noise_BLC, tokens_BL = (
        draw.normal("noise", layout.n_tokens, 3),
        draw.integers("token", 9, layout.n_tokens),
    )
    trajectory = Trajectory(Condition(torch.zeros(2, dtype=torch.int64)), noise_BLC, tokens_BL, layout)
    step = data.draw(st.integers(0, layout.n_steps))
    state_BLC = trajectory.state(step, CODES_VC)
    is_data_L = layout.step_of_token() < step
    assert state_BLC[:, is_data_L].equal(CODES_VC[tokens_BL][:, is_data_L])
    assert state_BLC[:, ~is_data_L].equal(noise_BLC[:, ~is_data_L])


def test_a_condition_is_cut_and_mapped_as_a_whole():
    condition = Condition(torch.arange(4), torch.ones(4, 2, 3), torch.ones(4, 2, dtype=torch.bool))
    part = condition[1:3]
    assert len(part) == 2
    assert part.require_labels().tolist() == [1, 2]
    assert part.features_BTE.shape == (2, 2, 3)
    assert part.mask_BT.shape == (2, 2)
