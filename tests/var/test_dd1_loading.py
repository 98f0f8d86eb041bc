"""DD1 students of VAR from files in the layout of the official release."""

from pathlib import Path

import attrs
import pytest
import torch
from ardistill_var.dd1 import VARDD1
from ardistill_var.dd1_loading import load_published
from ardistill_var.dd1_settings import VARDD1Settings
from ardistill_var.structure import STRUCTURAL

from ardistill.config import structure_words
from ardistill.errors import ConfigError, MisfitError, WeightsError
from ardistill.protocols import Condition
from ardistill.schedules import Jumps
from ardistill.weights import Weights, read_weights
from tests.var.models import small_student, small_teacher

LABELS = Condition(torch.tensor([0, 4, 2]))
TEACHER = small_teacher()


def published(path: Path, student: VARDD1, *without: str) -> Weights:
    """As the official release has it: an average without buffers, beside the weights it is of."""
    state = student.state_dict()
    average = {key: value for key, value in state.items() if not key.endswith(without or ("?",))}
    raw = {key: torch.zeros_like(value) for key, value in state.items()}
    torch.save({"trainer": {"var_wo_ddp": raw, "ema_parameters": average}}, path)
    return read_weights(path)


@pytest.mark.parametrize("without", [(), STRUCTURAL])
def test_a_published_student(tmp_path: Path, without: tuple[str, ...]) -> None:
    student = small_student(TEACHER)
    file = published(tmp_path / "dd.pth", student, *without)
    assert file.wrapping == ("trainer", "ema_parameters")
    loaded = load_published(VARDD1Settings(starts=(0, 2), split=1), TEACHER, file)
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])
    assert [jump.start for jump in loaded.jumps] == [0, 2]
    noise = torch.randn(3, TEACHER.layout.n_tokens, 6)
    got, want = (model.jump(noise, LABELS, 2) for model in (loaded, student))
    assert torch.equal(got.latents_BLC, want.latents_BLC)
    assert torch.equal(got.logits_BLV, want.logits_BLV)


@pytest.mark.parametrize(
    ("depth", "preset", "message"),
    [
        (16, "var-d16-dd1", None),
        (16, "", None),
        (20, "var-d16-dd1", "these are var-d20-dd1's weights; give student.preset=var-d20-dd1"),
        (2, "var-d16-dd1", "these weights have depth 2; leave student.preset out"),
    ],
)
def test_a_students_preset_is_a_promise(tmp_path: Path, depth: int, preset: str, message: str | None) -> None:
    """A student needs not be as deep as the teacher at hand."""
    teacher = small_teacher(patch_nums=(1, 2, 3, 4, 5, 6, 6, 6, 6))  # nine, as its recipes split there
    with torch.device("meta"):
        deep = VARDD1(attrs.evolve(teacher.model.config, depth=depth, width=8), Jumps())
    state = {
        key: torch.zeros(value.shape) if value.is_meta else value for key, value in deep.state_dict().items()
    }
    torch.save({"trainer": {"ema_parameters": state}}, tmp_path / "dd.pth")
    words = structure_words([f"preset={preset}"] if preset else [], VARDD1Settings)
    file = read_weights(tmp_path / "dd.pth")
    if message is None:
        loaded = load_published(words, teacher, file)
        assert [jump.start for jump in loaded.jumps] == ([0, 5] if preset else [0])
        assert len(loaded.schedules) == (3 if preset else 0)
    else:
        with pytest.raises(MisfitError, match=message):
            load_published(words, teacher, file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"patch_nums": (1, 2, 3)},
            r"of scales \(1, 2, 3\), and the teacher's are \(1, 2, 4\); give the teacher",
        ),
        ({"vocab": 30}, "of codes 30, and the teacher's are 24"),
        ({"code_width": 5}, "of channels a code 5, and the teacher's are 6"),
        ({"num_classes": 7}, "of classes 7, and the teacher's are 5"),
    ],
)
def test_a_student_of_another_teacher(change: dict[str, object], message: str) -> None:
    student = VARDD1(attrs.evolve(TEACHER.model.config, **change), Jumps())
    file = Weights(student.state_dict(), {}, Path("dd.pth"))
    with pytest.raises(ConfigError, match=rf"dd\.pth holds a student {message}"):
        load_published(VARDD1Settings(), TEACHER, file)


def test_a_student_of_other_scales_that_lists_none() -> None:
    student = VARDD1(attrs.evolve(TEACHER.model.config, patch_nums=(1, 2, 3)), Jumps())
    state = {key: value for key, value in student.state_dict().items() if not key.endswith(STRUCTURAL)}
    with pytest.raises(WeightsError, match="it makes 14 tokens, and the teacher makes 21; give the teacher"):
        load_published(VARDD1Settings(), TEACHER, Weights(state, {}, Path("dd.pth")))
