"""The words of DD1's perceptual loss."""

from pathlib import Path

import attrs
import pytest
from ardistill_dd1.lpips_config import LPIPSConfig


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_the_weight_is_a_finite_number(weight):
    with pytest.raises(ValueError, match="weight must be a finite number of at least 0"):
        LPIPSConfig(weight=weight)


def test_a_file_for_the_datas_own_network_is_refused():
    with pytest.raises(ValueError, match="net=vgg or net=alex"):
        LPIPSConfig(weights=Path("vgg16.pth"))
    assert attrs.evolve(LPIPSConfig(), net="vgg", weights=Path("vgg16.pth")).net == "vgg"
