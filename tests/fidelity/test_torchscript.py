"""Archives give their tensors without running; damaged or harmful ones give one sentence."""

import os
import pickle
import zipfile
from contextlib import suppress

import pytest
import torch
from ardistill_fidelity.torchscript import is_torchscript, read_torchscript
from hypothesis import given
from hypothesis import strategies as st

from ardistill.errors import WeightsError
from tests.fidelity.archives import write_archive

NAMES = st.lists(st.sampled_from(["visual", "0", "attn", "weight"]), min_size=1, max_size=4).map(".".join)
DTYPES = st.sampled_from(
    [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64]
)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    whole = torch.randint(
        -99, 99, [2, *shape], generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))
    )
    whole = whole.to(draw(DTYPES))
    return draw(st.sampled_from([whole, whole[1], whole.mT if len(shape) > 1 else whole]))


@given(st.dictionaries(NAMES, tensors(), min_size=1, max_size=5))
def test_tensors_come_back_under_their_names(tmp_path_factory, content):
    content = {
        name: value
        for name, value in content.items()
        if not any(other.startswith(f"{name}.") for other in content)
    }
    path = tmp_path_factory.mktemp("archive") / "program.pt"
    write_archive(path, content)
    assert is_torchscript(path)
    read = read_torchscript(path, "").tensors
    assert read.keys() == content.keys()
    for name, value in content.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)


def test_a_tensor_that_two_names_share_is_there_twice(tmp_path):
    shared = torch.arange(6.0)
    write_archive(tmp_path / "program.pt", {"a.weight": shared, "b.weight": shared[2:], "c": torch.ones(2)})
    read = read_torchscript(tmp_path / "program.pt", "a.", "b.").tensors
    assert read.keys() == {"a.weight", "b.weight"}
    assert torch.equal(read["b.weight"], read["a.weight"][2:])


@pytest.fixture
def program(tmp_path):
    write_archive(
        tmp_path / "program.pt", {"visual.weight": torch.arange(300.0), "visual.bias": torch.ones(3)}
    )
    return tmp_path / "program.pt"


@given(st.integers(0, 10**6), st.integers(1, 255), st.booleans())
def test_damage_changes_nothing_unnoticed(tmp_path_factory, place, change, cut):
    folder = tmp_path_factory.mktemp("damage")
    content = {"visual.weight": torch.arange(9.0)}
    write_archive(folder / "program.pt", content)
    whole = bytearray((folder / "program.pt").read_bytes())
    place %= len(whole)
    if cut:
        del whole[place:]
    else:
        whole[place] ^= change
    (folder / "program.pt").write_bytes(whole)
    with suppress(WeightsError):  # anything else would be a traceback
        read = read_torchscript(folder / "program.pt", "").tensors
        assert torch.equal(read["visual.weight"], content["visual.weight"])


def with_table(program, table):
    """The archive with another table of objects."""
    other = program.with_name("other.pt")
    with zipfile.ZipFile(program) as archive, zipfile.ZipFile(other, "w") as written:
        for info in archive.infolist():
            changed = table if info.filename.endswith("/data.pkl") else archive.read(info)
            written.writestr(info.filename, changed)
    return other


class Harmful:
    def __init__(self, call, *arguments):
        self.said = call, arguments

    def __reduce__(self):
        return self.said


def test_nothing_is_called(program, tmp_path):
    trace = tmp_path / "trace"
    table = pickle.dumps(Harmful(os.mkdir, str(trace)), protocol=2)
    assert not read_torchscript(with_table(program, table), "").tensors
    assert not trace.exists()
    pickle.loads(table)
    assert trace.exists(), "it is harmful"


def table_of(numel, offset, shape, stride, kind=b"FloatStorage"):
    """A module with one tensor that claims all this of the record 0."""
    parts = [pickle.dumps(part, protocol=2)[2:-1] for part in (numel, offset, shape, stride)]
    numel, offset, shape, stride = parts
    record = b"(X\x07\0\0\0storagectorch\n" + kind + b"\nX\x01\0\0\x000X\x03\0\0\0cpu" + numel + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + record + offset + shape + stride + b"\x89tR"
    return b"\x80\x02c__torch__\nM\n)\x81}(X\x01\0\0\0a" + tensor + b"ub."


def test_a_tensor_may_claim_only_what_is_there(program):
    with zipfile.ZipFile(program) as archive:
        numel = archive.getinfo("program/data/0").file_size // 4
    good = with_table(program, table_of(numel, 1, (2,), (1,)))
    assert read_torchscript(good, "").tensors["a"].shape == (2,)
    for claim in (
        (numel + 1, 0, (2,), (1,)),
        (numel, numel, (2,), (1,)),
        (numel, 0, (2,), (numel,)),
        (numel, -1, (2,), (1,)),
        (numel, 0, (10**9, 10**9), (0, 0)),
        (numel, 0, (2,), (1,), b"DoubleStorage"),
        (numel, 0, (2,), (1,), b"NoStorage"),
    ):
        with pytest.raises(WeightsError, match="can't be read as a TorchScript archive"):
            read_torchscript(with_table(program, table_of(*claim)), "")


def test_objects_without_end_are_refused(program):
    """An object that is part of itself."""
    table = b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\0\0\0ah\x00sb."
    with pytest.raises(WeightsError, match="no end"):
        read_torchscript(with_table(program, table), "")


def test_other_files_are_not_archives(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "tensors.pth")
    (tmp_path / "text").write_text("PK")
    assert not any(
        map(is_torchscript, [tmp_path / "tensors.pth", tmp_path / "text", tmp_path, tmp_path / "none"])
    )
