"""Pairs depend on seed and index alone, are taken in any order, and are never another teacher's."""

import attrs
import pytest
import torch
from ardistill_dd2.tuning import ancestral
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ardistill
from ardistill.errors import ConfigError, DataError, PluginError
from ardistill.noise import Draw
from ardistill.protocols import Condition, Guidance
from ardistill.trajectories import Pairing, Pairs
from tests.llamagen.models import small_teacher as small_llamagen
from tests.trajectories.making import (
    ANCESTRAL,
    FROM_NOISE,
    SEED,
    Rest,
    Silent,
    collected,
    contents,
    exact_teacher,
    from_noise,
    pairs_in,
    shard_files,
)
from tests.var.models import small_teacher as small_var

FEW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)


def made_at_once(n, pairing=FROM_NOISE, seed=SEED):
    """What the pairs 0..n-1 are, by the definition."""
    teacher, draw = exact_teacher(), Draw(seed, "pairs", 0, n)
    labels, noise = draw.integers("label", 2), draw.normal("noise", 4, 3)
    return labels, noise, pairing.make(pairing.settings, teacher, Condition(labels), noise, draw)


@FEW
@given(
    n=st.integers(1, 40),
    batch=st.integers(1, 50),
    shard=st.integers(1, 50),
    pairing=st.sampled_from([FROM_NOISE, ANCESTRAL]),
)
def test_neither_batch_nor_shards_play_a_part(tmp_path_factory, n, batch, shard, pairing):
    folder = tmp_path_factory.mktemp("pairs") / "below"
    pairs = collected(folder, n, batch=batch, shard=shard, pairing=pairing)
    assert pairs.count == n
    labels, noise, tokens = made_at_once(n, pairing)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    for found in (pairs.take(order), Pairs.open(folder, exact_teacher()).take(order)):
        assert found.condition.labels_B.equal(labels[order])
        assert found.noise_BLC.equal(noise[order])
        assert found.tokens_BL.equal(tokens[order])
        assert found.layout == exact_teacher().layout


@pytest.mark.parametrize("make_teacher", [small_var, small_llamagen])
def test_pairs_of_real_architectures(tmp_path, make_teacher):
    guidance = Guidance(scale=1.5, top_k=10)
    one, other = tmp_path / "one", tmp_path / "other"
    pairs = collected(one, 12, teacher=make_teacher(guidance), pairing=ANCESTRAL, shard=5, batch=4)
    collected(other, 12, teacher=make_teacher(guidance), pairing=ANCESTRAL, shard=5, batch=4)
    assert contents(one) == contents(other)
    teacher = make_teacher(guidance)
    taken = pairs.take(torch.arange(12))
    log_p_BLV = teacher.log_probs(taken.condition, teacher.tokenizer.codebook[taken.tokens_BL])
    assert log_p_BLV.gather(-1, taken.tokens_BL.unsqueeze(-1)).isfinite().all()  # the guided, filtered ones
    with pytest.raises(DataError, match=r"guidance\.scale is 1\.5 there and 2\.0 here"):
        Pairs.open(one, make_teacher(Guidance(scale=2.0, top_k=10)))


@FEW
@given(steps=st.lists(st.integers(1, 45), min_size=2, max_size=4))
def test_a_folder_that_grows_is_one_collected_at_once(tmp_path_factory, steps):
    grown, whole = (tmp_path_factory.mktemp("pairs") for _ in range(2))
    for n in steps:
        assert collected(grown, n).count >= n
    collected(whole, max(steps))
    assert contents(grown) == contents(whole)


def test_what_is_there_is_not_made_again(tmp_path):
    made = []

    def counted(settings, teacher, condition, noise_BLC, draw):
        made.extend(draw.indices().tolist())
        return from_noise(None, teacher, condition, noise_BLC, draw)

    pairing = Pairing("counted", None, counted)
    for n in (25, 25, 7, 42):
        collected(tmp_path, n, pairing=pairing)
    assert made == list(range(42))


def test_progress_tells_what_is_there_and_what_is_made(tmp_path):
    told = []

    class Told:
        def advance(self, done, total, what):
            told.append((done, total, what))

    collected(tmp_path, 15)
    assert pairs_in(tmp_path).collect(30, batch=5, progress=Told()) == 15
    assert told[0] == (15, 30, "pairs")
    assert told[-1] == (30, 30, "pairs")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_streaming_collects_the_shards_that_are_needed_first(tmp_path):
    pairs = pairs_in(tmp_path / "pairs")
    assert pairs.count == 0
    assert not (tmp_path / "pairs").exists()
    labels, noise, tokens = made_at_once(60)
    for picks in ([33, 31], [5, 33, 58]):
        taken = pairs.take(torch.tensor(picks), batch=4)
        assert taken.tokens_BL.equal(tokens[picks])
        assert taken.noise_BLC.equal(noise[picks])
        assert taken.condition.labels_B.equal(labels[picks])
    names = ["pairs-000000.safetensors", "pairs-000003.safetensors", "pairs-000005.safetensors"]
    assert [path.name for path in shard_files(tmp_path / "pairs")] == names
    assert pairs.count == 10
    assert Pairs.open(tmp_path / "pairs", exact_teacher()).count == 10


def test_shards_are_read_once(tmp_path):
    collected(tmp_path, 20)
    pairs = pairs_in(tmp_path)
    before = pairs.take(torch.arange(20)).tokens_BL
    for path in shard_files(tmp_path):
        path.unlink()
    assert pairs.take(torch.arange(20)).tokens_BL.equal(before)


def test_the_folders_own_shards_stay(tmp_path):
    collected(tmp_path, 20, shard=8)
    collected(tmp_path, 30, shard=5)
    assert len(shard_files(tmp_path)) == 4


@pytest.mark.parametrize("batch", [None, 5])
def test_missing_pairs_are_told_with_the_command_that_collects_them(tmp_path, batch):
    collected(tmp_path, 25, pairing=attrs.evolve(FROM_NOISE, settings=Rest(0.5)))
    pairs = Pairs.open(tmp_path, exact_teacher())
    words = rf"trajectory=from-noise trajectory\.seconds=0\.5 seed={SEED} n=28 out={tmp_path}"
    command = rf"collect teacher=\.\.\. {words}"
    with pytest.raises(DataError, match=rf"pairs-000002\.safetensors holds 5 pairs.*{command}"):
        pairs.take(torch.tensor([3, 27]), batch=batch)
    with pytest.raises(DataError, match="pairs-000004"):
        pairs.take(torch.tensor([40]), batch=batch)
    with pytest.raises(DataError, match=f"holds no pairs.*out={tmp_path / 'none'}"):
        pairs_in(tmp_path / "none").take(torch.tensor([0]))


def damage(path, how):
    file = path.read_bytes()
    if how == "flipped":
        path.write_bytes(file[:-9] + bytes([file[-9] ^ 1]) + file[-8:])
    elif how == "truncated":
        path.write_bytes(file[:-9])
    elif how == "emptied":
        path.write_bytes(b"")
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["flipped", "truncated", "emptied", "missing"])
def test_a_damaged_shard_is_named_and_made_again_alone(tmp_path, how, caplog):
    collected(tmp_path, 40)
    before = contents(tmp_path)
    times = {path.name: path.stat().st_mtime_ns for path in shard_files(tmp_path)}
    damage(tmp_path / "pairs-000002.safetensors", how)
    opened = Pairs.open(tmp_path, exact_teacher())
    with pytest.raises(DataError, match=r"pairs-000002\.safetensors.*collect teacher=.* n=(30|23) out="):
        opened.take(torch.tensor([22]))
    assert opened.take(torch.tensor([12, 39])).tokens_BL.shape == (2, 4)
    if how == "missing":
        assert opened.count == 20
    else:
        with pytest.raises(
            DataError, match=r"pairs-000002.* n=30 out="
        ):  # so that the whole shard is made anew
            _ = opened.count
    assert pairs_in(tmp_path).collect(40, batch=7, progress=Silent()) == 10
    assert ("pairs-000002" in caplog.text) == (how != "missing")
    assert contents(tmp_path) == before
    changed = [path.name for path in shard_files(tmp_path) if path.stat().st_mtime_ns != times[path.name]]
    assert changed == ["pairs-000002.safetensors"]


def test_streaming_makes_a_damaged_shard_anew_and_says_so(tmp_path, caplog):
    expected = collected(tmp_path, 20).take(torch.arange(20)).tokens_BL
    damage(tmp_path / "pairs-000001.safetensors", "flipped")
    assert pairs_in(tmp_path).take(torch.arange(20), batch=10).tokens_BL.equal(expected)
    assert "pairs-000001" in caplog.text


def other_teachers():
    guidance = Guidance(scale=1.5)
    yield "guidance.scale", small_var(Guidance(scale=1.0))
    yield "guidance.top_k", small_var(attrs.evolve(guidance, top_k=5))
    yield "teacher", small_llamagen(guidance)
    yield "steps", small_var(guidance, patch_nums=(1, 3, 4))
    changed = small_var(guidance)
    changed.model.head.bias[3] += 1e-3
    yield "teacher_digest", changed
    changed = small_var(guidance)
    changed.tokenizer.quantize.embedding.weight[0, 0] += 1e-3
    yield "tokenizer_digest", changed


@pytest.mark.parametrize(("field", "teacher"), list(other_teachers()), ids=lambda field: str(field)[:20])
def test_another_teachers_pairs_are_refused_with_the_differing_fields(tmp_path, field, teacher):
    ours = small_var(Guidance(scale=1.5))
    collected(tmp_path, 3, teacher=ours, pairing=ANCESTRAL)
    before = contents(tmp_path)
    for refuse in (
        lambda: Pairs.open(tmp_path, teacher),
        lambda: pairs_in(tmp_path, teacher=teacher, pairing=ANCESTRAL),
    ):
        with pytest.raises(DataError, match=rf"[ ,]{field} is .* there and .* here") as raised:
            refuse()
        if "_digest" in field or field.startswith("guidance"):
            assert str(raised.value).count(" there and ") == 1
    assert contents(tmp_path) == before
    assert Pairs.open(tmp_path, small_var(Guidance(scale=1.5))).count == 3


def test_to_collect_into_a_folder_trajectory_settings_and_seed_have_to_agree_too(tmp_path):
    resting = attrs.evolve(FROM_NOISE, settings=Rest(0.5))
    collected(tmp_path, 3, pairing=resting)
    with pytest.raises(DataError, match="seed is 5 there and 6 here"):
        pairs_in(tmp_path, pairing=resting, seed=6)
    with pytest.raises(DataError, match=r"settings\.seconds is 0\.5 there and 1\.0 here"):
        pairs_in(tmp_path, pairing=attrs.evolve(FROM_NOISE, settings=Rest(1.0)))
    with pytest.raises(DataError, match="trajectory is 'from-noise' there and 'ancestral' here"):
        pairs_in(tmp_path, pairing=ANCESTRAL)
    assert Pairs.open(tmp_path, exact_teacher()).origin.seed == 5
    assert pairs_in(tmp_path, pairing=resting).count == 3


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(DataError, match=r"thesis\.txt"):
        collected(tmp_path, 3)
    assert contents(tmp_path) == {"thesis.txt": b"dear"}
    with pytest.raises(DataError, match="holds no pairs"):
        Pairs.open(tmp_path, exact_teacher())


def test_a_teacher_of_captions_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="captions"):
        pairs_in(tmp_path, teacher=small_llamagen(text=True))
    collected(tmp_path, 3, teacher=small_llamagen(), pairing=ANCESTRAL)
    with pytest.raises(DataError, match="n_classes is 5 there and 0 here"):
        Pairs.open(tmp_path, small_llamagen(text=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda settings, teacher, condition, noise_BLC, draw: torch.zeros(len(draw), 3, dtype=torch.int64),
        lambda settings, teacher, condition, noise_BLC, draw: torch.zeros(len(draw), 4),
        lambda settings, teacher, condition, noise_BLC, draw: (
            ancestral(None, teacher, condition, noise_BLC, draw) + 8
        ),
        lambda settings, teacher, condition, noise_BLC, draw: torch.full((len(draw), 4), -1),
    ],
    ids=["shape", "dtype", "too large", "negative"],
)
def test_a_trajectory_that_gives_no_tokens_is_refused(tmp_path, make):
    with pytest.raises(PluginError, match="trajectory odd gave"):
        collected(tmp_path, 3, pairing=Pairing("odd", None, make))
    assert not shard_files(tmp_path)


def test_what_no_weights_tell_is_told_by_the_teacher(tmp_path):
    """The exact teachers have no weights but tables; LlamaGen's guided interval is in no file."""
    collected(tmp_path / "exact", 4)
    with pytest.raises(DataError, match=r"constants.tables is .* there and .* here"):
        Pairs.open(tmp_path / "exact", exact_teacher(sharpness=1.0))
    one, other = (ardistill.load_teacher("llamagen", cfg=2.0, cfg_interval=k) for k in (-1, 5))
    collected(tmp_path / "llamagen", 2, pairing=ANCESTRAL, teacher=one)
    with pytest.raises(DataError, match=r"constants.cfg_interval is -1 there and 5 here"):
        Pairs.open(tmp_path / "llamagen", other)
