"""Teachers and published students through the command line and `ardistill.load_*`, on the bundled digits teachers."""

from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.dd1 import LlamaGenDD1
from ardistill_llamagen.initialise import initialise
from ardistill_llamagen.transformer import GPT
from ardistill_var.dd1 import VARDD1

import ardistill
from ardistill.__main__ import main
from ardistill.errors import ArdistillError
from ardistill.evaluation.report import Report
from ardistill.noise import Draw
from ardistill.protocols import Condition, Jumps
from ardistill.sampling import generate, schedule
from ardistill.weights import write_weights

WEIGHTS = Path(__file__).parents[2] / "plugins" / "ardistill_digits" / "weights"
STUDENTS = {"var": VARDD1, "llamagen": LlamaGenDD1}
PUBLISHED = ("student.preset=var-d16-dd1", "student.checkpoint={file}")
UNNAMED = ("teacher=var", "student=var-dd1", "student.checkpoint={file}")
FILES = (
    "teacher.checkpoint={weights}/var-teacher.safetensors",
    "teacher.tokenizer.checkpoint={weights}/var-tokenizer.safetensors",
)
WORDS = {
    "var": ["student.starts=0,2", "student.split=2", "student.recipes=pre-trained-2-3:3"],
    "llamagen": ["student.starts=0,5", "student.split=4", "student.recipes=pre-trained-3-6:9"],
}
OWN_SCHEDULE = {"var": "pre-trained-2-3", "llamagen": "pre-trained-3-6"}


@pytest.fixture(scope="module", params=["var", "llamagen"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def published(name, tmp_path_factory):
    """A file laid out as the release's, of a student that has not been trained."""
    student = ardistill.load_teacher(name).jumper(Jumps(), seed=3)
    path = tmp_path_factory.mktemp("published") / f"{name}.pth"
    state = student.state_dict()
    wrapped = {"trainer": {"ema_parameters": state}} if name == "var" else {"ema": state, "model": state}
    torch.save(wrapped, path)
    return path


def words(name: str, published: Path) -> list[str]:
    return [
        f"teacher={name}",
        f"student={name}-dd1",
        f"student.checkpoint={published}",
        *WORDS[name],
        "threads=1",
    ]


def drawn(path: Path, *given: str) -> np.ndarray:
    assert main(["sample", *given, f"out={path}", "n=10", "seed=4"]) == 0
    with np.load(path) as file:
        return file["arr_0"]


def test_sample_follows_each_schedule_of_the_student(name, published, tmp_path):
    one, two, own = (
        drawn(tmp_path / f"{steps}.npz", *words(name, published), f"steps={steps}")
        for steps in ("1", "2", OWN_SCHEDULE[name])
    )
    assert one.shape == (10, 16, 16, 3)
    assert (one != two).any()
    assert (two != own).any()


def test_sample_is_what_the_library_gives(name, published, tmp_path):
    """The picture of the command line is `generate` with the loaded parts and the documented draw."""
    steps = OWN_SCHEDULE[name]
    images = drawn(tmp_path / "a.npz", *words(name, published), f"steps={steps}")
    teacher = ardistill.load_teacher(name)
    given = [word.removeprefix("student.").split("=", 1) for word in WORDS[name]]
    settings = {key: tuple(value.split(",")) if "," in value else value for key, value in given}
    settings = {
        "starts": tuple(map(int, settings["starts"])),
        "split": int(settings["split"]),
        "recipes": (settings["recipes"],),
    }
    student = ardistill.load_student(f"{name}-dd1", teacher, checkpoint=published, **settings)
    drawn_N3HW, labels = ardistill.draw(teacher, student, n=10, steps=steps, seed=4)
    assert np.abs(drawn_N3HW.permute(0, 2, 3, 1).numpy().astype(int) - images.astype(int)).max() <= 1
    assert labels.tolist() == list(range(10))
    plan = schedule(steps, student, teacher.layout)
    latents = generate(plan, student, teacher, Condition(torch.arange(10)), Draw(4, "sample", 0, 10))
    made = (
        ((teacher.tokenizer.decode(latents) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    )
    assert np.abs(made.astype(int) - images.astype(int)).max() <= 1


def test_eval_judges_a_published_student(name, published, tmp_path):
    out = tmp_path / "report.json"
    given = [*words(name, published), "n=100", f"steps=1,2,{OWN_SCHEDULE[name]}", f"out={out}"]
    assert main(["eval", *given]) == 0
    report = Report.load(out)
    label = f"{name}-dd1"
    assert [row.name for row in report.rows][3:] == [
        f"{label}, 1 pass",
        f"{label}, 2 passes",
        f"{label}, {OWN_SCHEDULE[name]}",
    ]
    assert report.config["student"]["checkpoint"] == str(published)


def test_sample_draws_from_a_teacher_alone(name, tmp_path):
    images = drawn(tmp_path / "t.npz", f"teacher={name}", "classes=7", "threads=1")
    assert images.shape == (10, 16, 16, 3)
    assert images.std() > 30


def test_a_converted_student_is_the_same_student(name, published, tmp_path):
    assert main(["convert", str(published), f"out={tmp_path}"]) == 0
    converted = tmp_path / f"{name}.safetensors"
    assert converted.exists()
    one = drawn(tmp_path / "one.npz", *words(name, published))
    other = drawn(tmp_path / "other.npz", *words(name, converted))
    assert np.array_equal(one, other)


def test_tokenizers_load_by_name(name):
    tokenizer = ardistill.load_tokenizer(name)
    assert tokenizer.image_shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["sample", "out={tmp}/a.png"], "run=DIR"),
        (["sample", "run={tmp}", "teacher=var", "out={tmp}/a.png"], "not both"),
        (["sample", "student.preset=var-d16-dd2", "out={tmp}/a.png"], "student"),
        (["sample", "student.preset=var-d16-dd1", "out={tmp}/a.png"], "student.checkpoint=PATH"),
        (
            ["sample", "student.preset=var-d16-dd1", "student.checkpoint={file}", "out={tmp}/a.png"],
            "var-d16-dd1",
        ),
        (
            [
                "sample",
                "teacher=var",
                "student=var-dd1",
                "student.checkpoint={file}",
                "student.starts=1,2",
                "out={tmp}/a.png",
            ],
            "starts",
        ),
        (
            [
                "sample",
                "teacher=var",
                "student=var-dd1",
                "student.checkpoint={file}",
                "student.split=9",
                "out={tmp}/a.png",
            ],
            "split",
        ),
        (
            [
                "sample",
                "teacher=var",
                "student=var-dd1",
                "student.checkpoint={file}",
                "student.starts=0,2",
                "steps=3",
                "out={tmp}/a.png",
            ],
            "1 to",
        ),
        (
            [
                "sample",
                "teacher=exact-sparse",
                "student=var-dd1",
                "student.checkpoint={file}",
                "out={tmp}/a.png",
            ],
            "teacher",
        ),
        (
            ["sample", "teacher=llamagen", "student=var-dd1", "student.checkpoint={file}", "out={tmp}/a.png"],
            "teacher",
        ),
        (["sample", "teacher=var", "teacher.checkpoint={file}", "out={tmp}/a.png"], "student"),
        (["sample", "teacher=var", "captions={file}", "out={tmp}/a.png"], "captions"),
        (["sample", "teacher=llamagen", "teacher.checkpoint={file}", "out={tmp}/a.png"], "{file}"),
        (
            ["sample", *PUBLISHED, "teacher.checkpoint=x", "out={tmp}/a.png"],
            "teacher.tokenizer.checkpoint=PATH",
        ),
        (["sample", *PUBLISHED, *FILES, "out={tmp}/a.png"], "leave teacher.preset=d16 out"),
        (["sample", *PUBLISHED, *FILES, "teacher.preset=", "out={tmp}/a.png"], "leave student.preset out"),
        (["sample", *UNNAMED, "student.recipes=1:99", "out={tmp}/a.png"], "smaller split"),
        (["sample", "teacher=llamagen", "captions={file}", "classes=1", "out={tmp}/a.png"], "exclude"),
        (["sample", "teacher=var", "out=/proc/a.png"], "can't be written"),
        (["eval", "teacher=var"], "student"),
        (["eval", "teacher=var", "student=var-dd1"], "student.checkpoint=PATH"),
    ],
)
def test_bad_input_is_one_sentence(given, said, tmp_path, capsys):
    student = ardistill.load_teacher("var").jumper(Jumps(), seed=3)
    file = tmp_path / "student.pth"
    torch.save({"trainer": {"ema_parameters": student.state_dict()}}, file)
    capsys.readouterr()
    assert main([word.format(tmp=tmp_path, file=file, weights=WEIGHTS) for word in given]) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert said.format(file=file) in lines[0]
    assert not (tmp_path / "a.png").exists()


def test_the_library_raises_what_the_command_line_says(tmp_path):
    with pytest.raises(ArdistillError, match="no weights file"):
        ardistill.load_teacher("var", checkpoint=tmp_path / "none.pth")
    with pytest.raises(ArdistillError, match="unknown key"):
        ardistill.load_teacher("var", chekpoint="x")
    for wrong in (None, 5, tmp_path):
        with pytest.raises(ArdistillError, match="named by text"):
            ardistill.load_teacher(wrong)
    for device in ("bogus", "cuda:77"):
        with pytest.raises(ArdistillError, match="device"):
            ardistill.load_teacher("var", device=device)
    with pytest.raises(ArdistillError, match="named by text"):
        ardistill.load_student(None, ardistill.load_teacher("var"))
    with pytest.raises(ArdistillError, match="known"):
        ardistill.load_student("var-d99-dd1", ardistill.load_teacher("var"), checkpoint="x")


def test_what_is_loaded_is_frozen_and_leaves_no_trace(name, published):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with torch.device("meta"):
        teacher = ardistill.load_teacher(name)
    student = ardistill.load_student(f"{name}-dd1", teacher, checkpoint=published)
    for module in (teacher, student.module, teacher.tokenizer):
        assert not module.training
        assert not any(parameter.requires_grad or parameter.is_meta for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.fixture
def caption_teacher(tmp_path):
    """A text-conditional LlamaGen that has not been trained, on the digits' tokenizer."""
    sizes = {"dim": 32, "n_layer": 1, "n_head": 2, "vocab_size": 128, "block_size": 16, "multiple_of": 32}
    config = GPTConfig(**sizes, model_type="t2i", cls_token_num=120, caption_dim=6, num_classes=0)
    model = GPT(config)
    initialise(model, seed=0)
    path = tmp_path / "t2i.safetensors"
    write_weights(path, model.state_dict(), {"kind": "llamagen-teacher", "config": attrs.asdict(config)})
    return path


def test_captions_are_drawn_in_turn(caption_teacher, tmp_path):
    features = Draw(0, "captions", 0, 3).normal("features", 4, 6).numpy()
    np.savez(tmp_path / "captions.npz", features=features, mask=np.array([[1, 1, 0, 0]] * 3))
    words = ["teacher=llamagen", f"teacher.checkpoint={caption_teacher}", "threads=1"]
    images = drawn(tmp_path / "a.npz", *words, f"captions={tmp_path / 'captions.npz'}")
    assert images.shape == (10, 16, 16, 3)
    with np.load(tmp_path / "a.npz") as file:
        assert file["arr_1"].tolist() == [i % 3 for i in range(10)]


def test_a_teacher_of_captions_needs_them_and_no_classes(caption_teacher, tmp_path, capsys):
    words = ["sample", "teacher=llamagen", f"teacher.checkpoint={caption_teacher}", f"out={tmp_path}/a.png"]
    for more, said in (([], "give captions=PATH"), (["classes=1"], "give captions=PATH")):
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err
    run = [
        "run",
        "method=dd2",
        "teacher=llamagen",
        f"teacher.checkpoint={caption_teacher}",
        f"out={tmp_path}/r",
    ]
    assert main(run) == 2
    assert "draws captions" in capsys.readouterr().err
