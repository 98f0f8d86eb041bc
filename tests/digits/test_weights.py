import pytest
import torch
from ardistill_digits.config import TokenizerRecipe
from ardistill_digits.data import Digits
from ardistill_digits.features import load_features
from ardistill_digits.quality import TeacherName, bundled_teacher
from ardistill_digits.train_tokenizer import tokenizer_config, unit_codes
from ardistill_var.loading import load_tokenizer
from ardistill_var.settings import VARTokenizerSettings
from ardistill_var.tokenizer import VARTokenizer
from ardistill_vqgan.quantizer_training import code_usage, initialise

from ardistill.noise import Draw
from ardistill.protocols import ARTeacher, Tokenizer
from ardistill.weights import read_weights

NAMES = {
    "features": "digits-features",
    **{f"{of}/{part}": f"{of}-{part}" for of in ("var", "llamagen") for part in ("tokenizer", "teacher")},
}
LARGEST = 4_000_000


def test_bundled_files_are_small_and_say_what_they_are() -> None:
    for name, kind in NAMES.items():
        path = Digits().weights(name)
        assert path is not None, name
        assert path.stat().st_size <= LARGEST
        about = read_weights(path).about
        assert about["kind"] == kind
        assert about["made_by"]["recipe"] == "digits"


@pytest.mark.parametrize("name", ["var", "llamagen"])
def test_teacher_tokenizer_and_data_fit_one_another(name: TeacherName) -> None:
    data = Digits()
    teacher = bundled_teacher(name, data.weights)
    assert isinstance(teacher, ARTeacher)
    assert isinstance(teacher.tokenizer, Tokenizer)
    assert teacher.n_classes == data.n_classes
    assert teacher.tokenizer.image_shape == data.image_shape
    assert teacher.layout.n_tokens == teacher.tokenizer.n_tokens
    path = data.weights(f"{name}/teacher")
    assert path is not None
    stored = read_weights(path).about["guidance"]
    assert teacher.guidance.scale == stored["scale"]
    assert teacher.guidance.top_p == stored["top_p"]


def test_features_vary_and_judge_single_images() -> None:
    data = Digits()
    network = load_features(data.weights)
    images, _ = data.images("test", Draw(0, "test", 0, 500))
    features, logits = network(images)
    assert features.shape == (500, network.n_features)
    assert logits.shape == (500, 10)
    assert features.std(0).min() > 0.05  # no dead feature, which would make covariances singular
    torch.testing.assert_close(network(images[3:4])[0], features[3:4], rtol=1e-4, atol=1e-4)


def test_the_codebook_is_in_use_and_of_unit_deviation() -> None:
    tokenizer = load_tokenizer(VARTokenizerSettings(), Digits().weights)
    assert abs(float(tokenizer.codebook.std()) - 1) < 1e-4
    images, _ = Digits().images("test", Draw(0, "test", 0, 1000))
    used = code_usage(tokenizer.encode(images), len(tokenizer.codebook)) > 0
    assert used.float().mean() >= 0.9


def test_llamagens_codebook_is_in_use() -> None:
    tokenizer = bundled_teacher("llamagen", Digits().weights).tokenizer
    images, _ = Digits().images("test", Draw(0, "test", 0, 1000))
    used = code_usage(tokenizer.encode(images), len(tokenizer.codebook)) > 0
    assert used.float().mean() >= 0.9
    torch.testing.assert_close(tokenizer.codebook.norm(dim=1), torch.ones(len(tokenizer.codebook)))


def test_scaling_the_codes_changes_nothing_else() -> None:
    tokenizer = VARTokenizer(tokenizer_config(TokenizerRecipe())).eval()
    initialise(tokenizer, seed=3)
    with torch.no_grad():
        for number, parameter in enumerate(tokenizer.parameters()):  # biases too must matter
            parameter.add_(
                0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            )
        images, _ = Digits().images("train", Draw(0, "test", 0, 32))
        tokens = tokenizer.encode(images)
        inputs = tokenizer.quantize.inputs(tokenizer.codebook[tokens])
        made = tokenizer.decode(tokenizer.codebook[tokens])
        scale = unit_codes(tokenizer)
        assert abs(scale - 1) > 0.01
        assert abs(float(tokenizer.codebook.std()) - 1) < 1e-5
        assert (tokenizer.encode(images) == tokens).float().mean() > 0.999  # ties may fall the other way
        torch.testing.assert_close(tokenizer.quantize.inputs(tokenizer.codebook[tokens]), inputs / scale)
        torch.testing.assert_close(tokenizer.decode(tokenizer.codebook[tokens]), made, rtol=1e-4, atol=1e-4)
