"""The embedded demo: real handwritten digits, a VAR teacher trained on them, and a network that judges samples.

Importing this package imports no torch. Data: UCI's "Optical Recognition of Handwritten Digits" by E. Alpaydin and
C. Kaynak, CC BY 4.0; README.md says how the weights were made and how good they are.
"""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import DatasetOffer, FeaturesOffer, RecipeOffer

ardistill_api = 1


@hookimpl
def ardistill_datasets() -> Iterator[DatasetOffer]:
    yield DatasetOffer(
        name="digits",
        summary="1,797 handwritten digits (UCI), 16x16, slightly turned and moved",
        target="ardistill_digits.data:digits",
    )
    yield DatasetOffer(
        name="digit-sums",
        summary="two of the digits side by side, 16x32; the class is their sum modulo ten",
        target="ardistill_digits.sums:digit_sums",
    )


@hookimpl
def ardistill_features() -> Iterator[FeaturesOffer]:
    yield FeaturesOffer(
        name="digits",
        summary="a small classifier of the digits and its 48 features",
        target="ardistill_digits.features:load_features",
    )
    yield FeaturesOffer(
        name="digit-sums",
        summary="that classifier on both halves: 96 features, and how probable each sum is",
        target="ardistill_digits.features:load_sum_features",
    )


@hookimpl
def ardistill_recipes() -> Iterator[RecipeOffer]:
    yield RecipeOffer(
        name="digits",
        summary="feature network, and the VAR and LlamaGen tokenizers and teachers of the digits",
        target="ardistill_digits.pretrain:pretrain",
        config="ardistill_digits.config:DigitsRecipe",
    )
    yield RecipeOffer(
        name="digit-sums",
        summary="tokenizer and VAR teacher of pairs of digits",
        target="ardistill_digits.sums_pretrain:pretrain",
        config="ardistill_digits.sums_config:SumsRecipe",
    )
