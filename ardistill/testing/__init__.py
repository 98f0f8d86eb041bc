"""The conformance kit: whether a plugin keeps what its protocol promises, as one line of its own tests.

    from ardistill.testing import check_teacher

    def test_my_teacher():
        check_teacher(make_my_teacher)

`strategies` are for properties of one's own, `toy_teacher` is a teacher to try methods with in milliseconds.
docs/conformance.md lists what is checked.
"""

from ardistill.testing.checks import (
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
from ardistill.testing.conformity import NonConforming
from ardistill.testing.toy import toy_teacher

__all__ = [
    "NonConforming",
    "check_callback",
    "check_dataset",
    "check_features",
    "check_method",
    "check_metric",
    "check_student",
    "check_teacher",
    "check_tokenizer",
    "check_trajectory",
    "toy_teacher",
]
