"""LlamaGen: next-token prediction in raster order (Sun et al., 2024) as a teacher, with its tokenizer.

Importing this package imports no torch; the plain configuration records are in `config` and `settings`.
"""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import StudentOffer, TeacherOffer, TokenizerOffer

ardistill_api = 1


@hookimpl
def ardistill_teachers() -> Iterator[TeacherOffer]:
    yield TeacherOffer(
        name="llamagen",
        summary="LlamaGen, next-token prediction (arXiv 2406.06525)",
        target="ardistill_llamagen.loading:load_teacher",
        config="ardistill_llamagen.settings:LlamaGenTeacherSettings",
        alignments=frozenset({"prefix", "own"}),
        untrained="ardistill_llamagen.untrained:untrained",
        conditions=frozenset({"class", "text"}),
        captions="ardistill_llamagen.captions:load_captions",
    )


@hookimpl
def ardistill_tokenizers() -> Iterator[TokenizerOffer]:
    yield TokenizerOffer(
        name="llamagen",
        summary="LlamaGen's VQ-16 and VQ-8, codes of length 1",
        target="ardistill_llamagen.tokenizer_loading:load_tokenizer",
        config="ardistill_llamagen.settings:LlamaGenTokenizerSettings",
    )


@hookimpl
def ardistill_students() -> Iterator[StudentOffer]:
    yield StudentOffer(
        name="llamagen-dd1",
        summary="DD1's student of LlamaGen, in one or two passes (arXiv 2412.17153)",
        target="ardistill_llamagen.dd1_loading:rebuild",
        published="ardistill_llamagen.dd1_loading:load_published",
        config="ardistill_llamagen.dd1_settings:LlamaGenDD1Settings",
    )
