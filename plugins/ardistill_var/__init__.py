"""VAR: next-scale prediction (Tian et al., 2024) as a teacher, with its multi-scale tokenizer and DD1's student.

Importing this package imports no torch; the plain configuration records are in `config`.
"""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import StudentOffer, TeacherOffer, TokenizerOffer

ardistill_api = 1


@hookimpl
def ardistill_teachers() -> Iterator[TeacherOffer]:
    yield TeacherOffer(
        name="var",
        summary="VAR, next-scale prediction (arXiv 2404.02905)",
        target="ardistill_var.loading:load_teacher",
        config="ardistill_var.settings:VARTeacherSettings",
        alignments=frozenset({"prefix", "own"}),
        untrained="ardistill_var.untrained:untrained",
    )


@hookimpl
def ardistill_tokenizers() -> Iterator[TokenizerOffer]:
    yield TokenizerOffer(
        name="var",
        summary="VAR's multi-scale residual tokenizer",
        target="ardistill_var.loading:load_tokenizer",
        config="ardistill_var.settings:VARTokenizerSettings",
    )


@hookimpl
def ardistill_students() -> Iterator[StudentOffer]:
    yield StudentOffer(
        name="var-dd1",
        summary="DD1's student of VAR (arXiv 2412.17153), as published or of one's own training",
        target="ardistill_var.dd1_loading:rebuild",
        config="ardistill_var.dd1_settings:VARDD1Settings",
        published="ardistill_var.dd1_loading:load_published",
    )
