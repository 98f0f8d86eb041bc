"""VQ tokenizers: the VQGAN encoder and decoder, a single-scale quantizer, and taming's VQGAN.

Importing this package imports no torch; the modules that need it are `blocks`, `backbone`, `quantizer`,
`quantizer_training`, `taming`, `contents` and `loading`. The plain configuration records are in `config`.
"""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import TokenizerOffer

ardistill_api = 1


@hookimpl
def ardistill_tokenizers() -> Iterator[TokenizerOffer]:
    yield TokenizerOffer(
        name="vqgan",
        summary="taming-transformers' VQGAN, one scale (arXiv 2012.09841)",
        target="ardistill_vqgan.loading:load_taming",
        config="ardistill_vqgan.config:TamingSettings",
    )
