"""The exact lab: small teachers whose joint distribution is known in closed form.

A student's distance to such a teacher is exact up to sampling, so methods can be measured without any
doubt about the metric. Importing this package imports no torch; the plain configuration records are in `config`.
"""

from collections.abc import Iterable

from ardistill.hookspecs import hookimpl
from ardistill.records import DatasetOffer, FeaturesOffer, StudentOffer, TeacherOffer

ardistill_api = 1


@hookimpl
def ardistill_teachers() -> Iterable[TeacherOffer]:
    yield TeacherOffer(
        name="exact-sparse",
        summary="8 well separated codes, 4 tokens, order-2 Markov: the joint is a table",
        target="ardistill_exact.teacher:sparse_teacher",
        config="ardistill_exact.config:SparseConfig",
        alignments=frozenset({"prefix", "own"}),
    )
    yield TeacherOffer(
        name="exact-dense",
        summary="a 12x12 grid of codes, 4 tokens, each following the one before in two modes",
        target="ardistill_exact.teacher:dense_teacher",
        config="ardistill_exact.config:DenseConfig",
        alignments=frozenset({"prefix", "own"}),
    )


@hookimpl
def ardistill_students() -> Iterable[StudentOffer]:
    yield StudentOffer(
        name="exact-dd1",
        summary="DD1's student of an exact teacher",
        target="ardistill_exact.jumper:rebuild",
    )


@hookimpl
def ardistill_datasets() -> Iterable[DatasetOffer]:
    yield DatasetOffer(
        name="exact-sparse",
        summary="draws from the joint of teacher=exact-sparse with the same settings",
        target="ardistill_exact.data:sparse_data",
        config="ardistill_exact.config:SparseConfig",
    )
    yield DatasetOffer(
        name="exact-dense",
        summary="draws from the joint of teacher=exact-dense with the same settings",
        target="ardistill_exact.data:dense_data",
        config="ardistill_exact.config:DenseConfig",
    )


@hookimpl
def ardistill_features() -> Iterable[FeaturesOffer]:
    yield FeaturesOffer(
        name="exact",
        summary="the latents of the exact teachers themselves",
        target="ardistill_exact.data:latents",
    )
