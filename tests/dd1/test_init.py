"""Training goes on from a student: one of ours, or a released one in official keys."""

import attrs
import pytest
import torch
from ardistill_dd1.config import DD1Config
from ardistill_dd1.lpips_config import LPIPSConfig
from ardistill_dd1.method import DD1

import ardistill
from ardistill.errors import ConfigError, MisfitError
from ardistill.launch.parts import save_student, student_reader
from ardistill.plugins import discover
from ardistill.protocols import Jumps, RunContext

CONFIG = DD1Config(n_pairs=4, starts=(0, 1), lpips=LPIPSConfig(weight=0.0))
WRAPPED = {
    "var": lambda state: {"trainer": {"ema_parameters": state}},
    "llamagen": lambda state: {"ema": state},
}


def method_of(teacher, folder, init):
    context = RunContext(0, folder, torch.device("cpu"), None, student_reader(teacher, discover()))
    return DD1(attrs.evolve(CONFIG, init=init), teacher, context)


@pytest.mark.parametrize("name", ["var", "llamagen"])
@pytest.mark.parametrize("released", [True, False])
def test_goes_on_from(name, released, tmp_path):
    teacher = ardistill.load_teacher(name)
    earlier = teacher.jumper(Jumps(), seed=9)
    path = tmp_path / ("student.pth" if released else "student.safetensors")
    if released:
        torch.save(WRAPPED[name](earlier.state_dict()), path)
    else:
        save_student(path, earlier, earlier.spec)
    method = method_of(teacher, tmp_path, path)
    for key, value in earlier.state_dict().items():
        assert torch.equal(method.network.state_dict()[key], value)
        assert torch.equal(method.average.state_dict()[key], value)
    fresh = method_of(teacher, tmp_path, None).network.state_dict()
    assert any(not torch.equal(fresh[key], value) for key, value in earlier.state_dict().items())
    assert [jump.start for jump in method.student().jumps] == [0, 1]


def test_refusals(tmp_path):
    teacher = ardistill.load_teacher("var")
    deeper = attrs.evolve(teacher.model.config, depth=3)
    student = type(teacher.jumper(Jumps(), 0))(deeper, Jumps())
    path = tmp_path / "student.pth"
    torch.save(student.state_dict(), path)
    with pytest.raises(MisfitError, match="other sizes than this teacher's own"):
        method_of(teacher, tmp_path, path)
    with pytest.raises(ConfigError, match="can't be read here"):
        DD1(attrs.evolve(CONFIG, init=path), teacher, RunContext(0, tmp_path, torch.device("cpu")))
