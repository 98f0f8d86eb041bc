"""MaskGIT (Chang et al., 2022) as a teacher: a masked transformer that fills in several tokens at once.

Importing this package imports no torch; the plain configuration records are in `config`, `settings` and `recipe`.
"""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import RecipeOffer, StudentOffer, TeacherOffer

ardistill_api = 1


@hookimpl
def ardistill_teachers() -> Iterator[TeacherOffer]:
    yield TeacherOffer(
        name="maskgit",
        summary="MaskGIT, tokens unmasked in a fixed order, several a step (arXiv 2202.04200)",
        target="ardistill_maskgit.loading:load_teacher",
        config="ardistill_maskgit.settings:MaskGITTeacherSettings",
        alignments=frozenset({"prefix", "own"}),
    )


@hookimpl
def ardistill_students() -> Iterator[StudentOffer]:
    yield StudentOffer(
        name="maskgit-dd1",
        summary="DD1's student of MaskGIT, in one pass or a few",
        target="ardistill_maskgit.loading:rebuild",
        config="ardistill_maskgit.settings:MaskGITStudentSettings",
    )


@hookimpl
def ardistill_recipes() -> Iterator[RecipeOffer]:
    yield RecipeOffer(
        name="maskgit",
        summary="the MaskGIT teacher of the digits",
        target="ardistill_maskgit.pretrain:pretrain",
        config="ardistill_maskgit.recipe:MaskGITRecipe",
    )
