"""Each defect is found by the check that is there for it, in one line that says so; what has none passes."""

from functools import partial

import pytest

from ardistill.testing import (
    NonConforming,
    check_callback,
    check_dataset,
    check_features,
    check_method,
    check_metric,
    check_student,
    check_teacher,
    check_tokenizer,
    check_trajectory,
)
from ardistill.testing import callbacks as kit_callbacks
from ardistill.testing import data as kit_data
from ardistill.testing import metrics as kit_metrics
from ardistill.testing import tokenizers as kit_tokenizers
from ardistill.testing import trajectories as kit_trajectories
from ardistill.testing.checks import (
    BOTH,
    METHOD_CHECKS,
    method_subject,
    student_checks,
    student_subject,
    teacher_checks,
)
from ardistill.testing.conformity import outcomes
from ardistill.testing.subjects import TeacherSubject
from ardistill.trajectories import Pairing
from tests.testing import broken, broken_listeners, plain

features = partial(check_features, image_shape=(3, 2, 2))
trajectory = partial(check_trajectory, teacher=plain.TEACHER, of_noise=True)
student = partial(check_student, teacher=plain.TEACHER)
method = partial(check_method, teacher=plain.TEACHER, rebuild=plain.rebuild)


def faults_of_tokenizer(given):
    return kit_tokenizers.CHECKS, kit_tokenizers.TokenizerSubject(given())


def faults_of_teacher(given):
    return teacher_checks(BOTH), TeacherSubject(given())


def faults_of_student(given):
    subject = student_subject(given, plain.TEACHER)
    return student_checks(subject), subject


def faults_of_trajectory(given):
    of = TeacherSubject(plain.TEACHER)
    return kit_trajectories.CHECKS, kit_trajectories.TrajectorySubject(Pairing("x", None, given), of, True)


def faults_of_dataset(given):
    return kit_data.DATASET_CHECKS, kit_data.DatasetSubject(given())


def faults_of_features(given):
    return kit_data.FEATURES_CHECKS, kit_data.FeaturesSubject(given(), (3, 2, 2))


def faults_of_metric(given):
    return kit_metrics.CHECKS, kit_metrics.MetricSubject(given)


def faults_of_callback(given):
    return kit_callbacks.CHECKS, kit_callbacks.CallbackSubject(given)


KINDS = [
    (faults_of_tokenizer, broken.TOKENIZERS),
    (faults_of_teacher, broken.TEACHERS),
    (faults_of_student, broken.STUDENTS),
    (faults_of_trajectory, broken.TRAJECTORIES),
    (faults_of_dataset, broken.DATASETS),
    (faults_of_features, broken.NETWORKS),
    (faults_of_metric, broken_listeners.METRICS),
    (faults_of_callback, broken_listeners.CALLBACKS),
]
CASES = [
    pytest.param(parts, thing, *told, id=thing.__name__)
    for parts, things in KINDS
    for thing, told in things.items()
]


def expect_fault(rows, check, said):
    faults = {row.check: row.fault for row in rows if row.fault}
    assert check in faults, faults
    assert said in faults[check]
    assert faults[check].startswith(f"{check}: expected: ")
    assert "; found: " in faults[check]
    assert "(smallest example: batch=" in faults[check]
    assert len(faults[check].splitlines()) == 1


def looked_at(checks, name):
    """The check of that name, and the gates before it."""
    assert name in [check.name for check in checks]
    return [check for check in checks if check.gate or check.name == name]


@pytest.fixture
def released():
    """What a defect leaves behind in the process goes."""
    yield
    broken_listeners.release()


@pytest.mark.usefixtures("released")
@pytest.mark.parametrize(("parts", "thing", "name", "said"), CASES)
def test_a_defect_is_found(parts, thing, name, said):
    checks, subject = parts(thing)
    expect_fault(outcomes(looked_at(checks, name), subject), name, said)


@pytest.mark.parametrize("thing", broken.METHODS, ids=lambda thing: thing.__name__)
def test_a_methods_defect_is_found(thing):
    name, said = broken.METHODS[thing]
    with method_subject(thing, plain.TEACHER, rebuild=plain.rebuild) as subject:
        expect_fault(outcomes(looked_at(METHOD_CHECKS, name), subject), name, said)


@pytest.mark.parametrize(
    ("check", "thing"),
    [
        (check_tokenizer, broken.NarrowTokens),
        (check_teacher, broken.DoubleLogProbs),
        (student, broken.StartsLate),
        (method, broken.OneNameForBoth),
        (trajectory, broken.narrow),
        (check_dataset, broken.Bytes),
        (features, broken.Miscounted),
        (check_metric, broken_listeners.NotANumber),
        (check_callback, broken_listeners.KnowsOneLoss),
    ],
)
def test_a_defect_is_an_assertion_that_fails(check, thing):
    with pytest.raises(NonConforming):
        check(thing)
    assert issubclass(NonConforming, AssertionError)


@pytest.mark.parametrize(
    ("check", "thing"),
    [
        (check_tokenizer, broken.Tokenizer),
        (check_teacher, broken.Teacher),
        (student, plain.PlainStudent),
        (method, plain.PlainMethod),
        (trajectory, plain.by_quantile),
        (check_dataset, broken.Data),
        (features, broken.Network),
        (check_metric, broken_listeners.Brightness),
        (check_callback, broken_listeners.Diary),
    ],
)
def test_what_has_no_defect_passes(check, thing):
    check(thing)


def test_the_example_is_the_smallest():
    """One image where one is enough, two where a batch is needed, the first step that shows it, seed 0."""
    with pytest.raises(NonConforming, match=r"smallest example: batch=1, step=0, seed=0"):
        check_tokenizer(broken.NarrowTokens)
    with pytest.raises(NonConforming, match=r"smallest example: batch=2, step=0, seed="):
        trajectory(broken.by_batch)
    with pytest.raises(NonConforming, match=r"smallest example: batch=1, step=1, seed=0"):
        check_teacher(broken.TakesAnyPrefix)


def test_the_same_fault_is_told_the_same_every_time():
    said = []
    for _ in range(2):
        with pytest.raises(NonConforming) as caught:
            check_teacher(broken.OffByOne)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "the_cursor_agrees_with_one_pass" in said[0]


def test_every_check_has_a_defect_that_it_finds():
    """But for that of a core's own record, which a plugin can spoil by its codes alone."""
    found = {name for _, things in KINDS for name, _ in things.values()} | {
        n for n, _ in broken.METHODS.values()
    }
    found |= {name.removeprefix("jumper: ") for name in found}
    lists = [
        kit_tokenizers.CHECKS,
        teacher_checks(BOTH),
        METHOD_CHECKS,
        kit_trajectories.CHECKS,
        kit_data.DATASET_CHECKS,
        kit_data.FEATURES_CHECKS,
        kit_metrics.CHECKS,
        kit_callbacks.CHECKS,
    ]
    names = {check.name.rpartition(": ")[2] for checks in lists for check in checks}
    assert names - found == {"states_are_data_then_noise"}
    teacher = broken.Teacher()
    teacher.tokenizer.codebook[1] = float("nan")
    subject = kit_trajectories.TrajectorySubject(Pairing("x", None, broken.by_draw), TeacherSubject(teacher))
    rows = outcomes(looked_at(kit_trajectories.CHECKS, "states_are_data_then_noise"), subject)
    expect_fault(rows, "states_are_data_then_noise", "is another by inf")


def test_nothing_after_a_gate_is_looked_at():
    checks, subject = faults_of_tokenizer(broken.Nameless)
    assert [row.check for row in outcomes(checks, subject)] == ["it_has_what_the_protocol_demands"]


def test_what_a_plugin_raises_is_a_finding_with_its_cause():
    class Raising(broken.Tokenizer):
        def encode(self, images_BCHW):
            raise KeyError("lost")

    with pytest.raises(NonConforming, match=r"encode_gives_tokens: .*found: KeyError: 'lost'") as caught:
        check_tokenizer(Raising)
    assert isinstance(caught.value.__cause__, KeyError)


def test_alignments_that_are_not_offered_are_not_looked_at():
    with pytest.raises(NonConforming):
        check_teacher(broken.DeafTrunk)
    check_teacher(broken.DeafTrunk, alignments={"own"})
    check_teacher(broken.HearsEverybody.teacher, alignments={"prefix"})


def test_a_students_rebuilding_is_its_specs_where_it_has_one():
    def narrower(settings, teacher):
        return plain.PlainStudent(plain.TEACHER, seed=7 * settings["seed"])

    spec = broken.StudentSpec("plain", {"seed": 1})
    student(plain.PlainStudent, spec=spec, rebuild=narrower)
    with pytest.raises(NonConforming, match=r"its_state_rebuilds_it.*unknown student 'plain'"):
        student(plain.PlainStudent, spec=spec)
