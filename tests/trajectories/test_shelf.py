"""What is written is read back, in so many bytes; whatever else is in a file's place is noticed."""

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ardistill.errors import DataError
from ardistill.protocols import Guidance
from ardistill.trajectories import Origin
from ardistill.trajectories.shelf import DamagedError, Rows, Shelf
from tests.trajectories.making import collected, shard_files

IN_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


def shelf(folder, *, n_codes=8, steps=(1, 3), size=10, seed=0) -> Shelf:
    origin = Origin.read(
        {
            "teacher": "a:B",
            "teacher_digest": "c",
            "tokenizer": "d:E",
            "tokenizer_digest": "f",
            "guidance": {"scale": 1.5, "top_k": 900, "top_p": 0.96, "temperature": 1.0},
            "constants": {"heads": 4},
            "steps": steps,
            "n_classes": 1000,
            "n_codes": n_codes,
            "code_width": 3,
            "trajectory": "some",
            "settings": {"solver": "heun", "evaluations": 31, "nested": {"deep": [1, 2]}},
            "seed": seed,
        }
    )
    return Shelf(folder, origin, size)


@IN_FOLDER
@given(data=st.data(), n_codes=st.sampled_from([2, 4096, 65536, 65537, 2**24]), n=st.integers(1, 10))
def test_rows_come_back_as_they_were_written(tmp_path, data, n_codes, n):
    place = shelf(tmp_path, n_codes=n_codes)
    tokens = data.draw(arrays.arrays(np.int64, (n, 4), elements=st.integers(0, n_codes - 1)))
    labels = data.draw(arrays.arrays(np.int64, n, elements=st.integers(0, 999)))
    place.write(3, place.none().then(tokens, labels))
    found = place.read(3)
    assert found.tokens_rL.tolist() == tokens.tolist()
    assert found.labels_r.tolist() == labels.tolist()
    assert found.tokens_rL.itemsize == (2 if n_codes <= 65536 else 4)


@given(
    scale=st.floats(-10, 10),
    top_p=st.floats(0, 1),
    steps=st.lists(st.integers(1, 99), min_size=1, max_size=5),
    seed=st.integers(0, 2**63 - 1),
)
def test_the_manifest_comes_back_as_it_was_written(tmp_path_factory, scale, top_p, steps, seed):
    folder = tmp_path_factory.mktemp("manifest")
    written = shelf(folder, steps=tuple(steps), seed=seed)
    guidance = Guidance(scale=scale, top_p=top_p)
    written = Shelf(folder, Origin.read({**fields(written.origin), "guidance": fields(guidance)}), 10)
    written.write_manifest()
    assert Shelf.there(folder) == written
    assert Shelf.there(folder).origin.digest() == written.origin.digest()
    shutil.rmtree(folder)


def fields(record):
    import attrs

    return attrs.asdict(record)


@pytest.mark.parametrize(
    ("steps", "n_codes", "most"),
    [((1, 4, 9, 16, 25, 36, 64, 100, 169, 256), 4096, 1500), ((1,) * 256, 16384, 600)],
    ids=["VAR-d16", "LlamaGen-L"],
)
def test_a_pair_takes_little_room(tmp_path, steps, n_codes, most):
    place = shelf(tmp_path, steps=steps, n_codes=n_codes, size=1000)
    rng = np.random.default_rng(0)
    tokens = rng.integers(n_codes, size=(1000, sum(steps)))
    place.write(0, place.none().then(tokens, rng.integers(1000, size=1000)))
    place.write_manifest()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < most * 1000
    assert (place.read(0).tokens_rL == tokens).all()


@pytest.mark.parametrize("change", [1, 0x10, 0x80, 0xFF])
def test_a_changed_byte_anywhere_is_noticed_or_changes_nothing(tmp_path, change):
    place = shelf(tmp_path, size=3)
    written = place.none().then(np.arange(12).reshape(3, 4) % 8, np.array([7, 0, 999]))
    place.write(0, written)
    whole = place.path(0).read_bytes()
    content = len(whole) - written.tokens_rL.nbytes - written.labels_r.nbytes
    for at in range(len(whole)):
        place.path(0).write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
        try:
            found = place.read(0)
        except DamagedError:
            continue
        assert found.tokens_rL.tolist() == written.tokens_rL.tolist()
        assert found.labels_r.tolist() == written.labels_r.tolist()
        assert at < content


@IN_FOLDER
@given(data=st.data())
def test_a_file_cut_short_is_noticed(tmp_path, data):
    place = shelf(tmp_path, size=3)
    place.write(0, place.none().then(np.zeros((3, 4), int), np.zeros(3, int)))
    file = place.path(0).read_bytes()
    place.path(0).write_bytes(file[: data.draw(st.integers(0, len(file) - 1))])
    with pytest.raises(DamagedError):
        place.read(0)


def test_a_shard_in_anothers_place_or_of_another_folder_is_noticed(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    collected(one, 20)
    collected(other, 20, seed=6)
    place = Shelf.there(one)
    first, second = shard_files(one)
    shutil.copy(first, second)
    with pytest.raises(DamagedError, match=second.name):
        place.read(1)
    shutil.copy(shard_files(other)[1], second)
    with pytest.raises(DamagedError, match=second.name):
        place.read(1)


def test_a_shard_of_other_shapes_or_numbers_is_noticed(tmp_path):
    place = shelf(tmp_path, size=3)
    for rows in (
        Rows(np.zeros((2, 5), np.uint16), np.zeros(2, np.int32)),
        Rows(np.zeros((2, 4), np.int32), np.zeros(2, np.int32)),
        Rows(np.zeros((2, 4), np.uint16), np.zeros(2, np.int64)),
        Rows(np.zeros((4, 4), np.uint16), np.zeros(4, np.int32)),
        Rows(np.zeros((2, 4), np.uint16), np.zeros((2, 1), np.int32)),
    ):
        place.write(0, rows)
        with pytest.raises(DamagedError):
            place.read(0)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", "[" * 20_000, '{"format": 2}', '{"format": 1, "shard": 10, "origin": {}}']
)
def test_a_damaged_manifest_is_a_sentence(tmp_path, text):
    (tmp_path / "pairs.json").write_text(text)
    with pytest.raises(DataError, match=r"pairs\.json"):
        Shelf.there(tmp_path)
