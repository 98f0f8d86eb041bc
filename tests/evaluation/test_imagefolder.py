"""Which files are images, what is told of those that are not in colour, and how images come to their size."""

import os

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from ardistill.errors import DataError
from ardistill.evaluation.references.imagefolder import (
    batches,
    class_folders,
    decode,
    fitted,
    image_files,
    resize_rule,
    told,
)


def noise(height, width, seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def picture(path, height=8, width=8, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(height, width, seed)).save(path)
    return path


def smooth(height, width):
    """A linear ramp, which every sensible filter keeps."""
    y, x = np.mgrid[:height, :width] + 0.5
    ramp = np.stack([x * 200 / width, y * 200 / height, (x + y) * 100 / (width + height)], axis=2)
    return Image.fromarray((ramp + 20).astype(np.uint8))


def test_finds_images_of_any_case_in_any_depth_in_order(tmp_path):
    for name in ("b/2.PNG", "b/1.jpeg", "a/deep/x.WebP", "c.bmp", "a/y.JPG", ".hidden/z.png", "a/._y.png"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert image_files(tmp_path) == ["a/deep/x.WebP", "a/y.JPG", "b/1.jpeg", "b/2.PNG", "c.bmp"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    picture(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "elsewhere")
    assert image_files(tmp_path / "data") == ["a/1.png"]


def test_folders_that_lead_to_one_another_are_visited_once(tmp_path):
    for name in "abc":
        picture(tmp_path / name / "1.png")
        for other in set("abc") - {name}:
            (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other)
    (tmp_path / "a" / "deep").mkdir()
    (tmp_path / "a" / "deep" / "b").symlink_to(tmp_path / "b")
    assert image_files(tmp_path) == ["a/1.png", "b/1.png", "c/1.png"], "by their own names"
    assert image_files(tmp_path / "a") == ["1.png", "deep/b/1.png", "to_c/1.png"]


def test_links_out_of_the_folder_lead_to_nothing_above_it(tmp_path):
    """Via another folder they could lead to all that lies beside the folder."""
    picture(tmp_path / "beside.png")
    picture(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data")
    assert image_files(tmp_path / "data") == ["a/1.png"]


def test_classes_are_numbered_as_torchvision_does(tmp_path):
    for name in ("n02/1.png", "N03/1.png", "n01/1.png"):
        picture(tmp_path / name)
    picture(tmp_path / "loose.png")
    assert class_folders(tmp_path) == ImageFolder(tmp_path).classes
    with pytest.raises(DataError, match=r"holds no folders, and one of images for each class"):
        class_folders(tmp_path / "n01")
    with pytest.raises(DataError, match=r"^there is no folder at"):
        class_folders(tmp_path / "missing")


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (64, 64, (8, 8)),
        (67, 90, (8, 8)),
        (20, 33, (16, 32)),
        (7, 5, (16, 16)),
        (100, 30, (16, 32)),
        (9, 16, (8, 8)),
    ],
)
def test_every_image_comes_to_size_without_being_stretched(height, width, size):
    made = np.asarray(fitted(smooth(height, width), size), dtype=float)
    assert made.shape == (*size, 3)
    scale = max(size[0] / height, size[1] / width)
    inner = made[2:-2, 2:-2]  # bicubic filters bend a ramp at the image's border
    across, down = np.diff(inner[..., 0], axis=1).mean(), np.diff(inner[..., 1], axis=0).mean()
    assert across == pytest.approx(200 / width / scale, rel=0.15)
    assert down == pytest.approx(200 / height / scale, rel=0.15)
    middle = made[size[0] // 2 - 1 : size[0] // 2 + 1, size[1] // 2 - 1 : size[1] // 2 + 1].mean((0, 1))
    assert middle == pytest.approx([120, 120, 70], abs=2 + max(across, down) / 2), (
        "off by half a pixel at most"
    )


def test_an_image_of_that_size_stays_as_it_is():
    original = noise(16, 32)
    assert (np.asarray(fitted(Image.fromarray(original), (16, 32))) == original).all()


def test_only_the_middle_is_kept():
    original = noise(8, 14)
    assert (np.asarray(fitted(Image.fromarray(original), (8, 8))) == original[:, 3:11]).all()


def test_twice_the_size_is_averaged_in_boxes():
    original = noise(16, 16)
    boxes = original.reshape(8, 2, 8, 2, 3).astype(float).mean((1, 3))
    assert (
        np.abs(np.asarray(fitted(Image.fromarray(original), (8, 8))) - boxes).max() <= 1
    )  # Pillow rounds after each axis


def test_below_twice_the_size_the_filter_is_bicubic():
    original = Image.fromarray(noise(15, 15))
    assert (
        np.asarray(fitted(original, (8, 8))) == np.asarray(original.resize((8, 8), Image.Resampling.BICUBIC))
    ).all()


def whole(image, size):
    """Scaled as a whole and cropped afterwards, whatever memory that takes."""
    height, width = size
    while image.width >= 2 * width and image.height >= 2 * height:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = max(width / image.width, height / image.height)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)), dtype=int)


@pytest.mark.parametrize(("height", "width"), [(50, 400), (400, 50), (9, 71), (33, 21), (3, 24)])
def test_images_up_to_eight_times_as_long_are_scaled_whole(height, width):
    image = Image.fromarray(noise(height, width))
    assert (np.asarray(fitted(image, (16, 16))) == whole(image, (16, 16))).all()


@pytest.mark.parametrize(("height", "width"), [(5, 400), (401, 5), (1, 300), (301, 1), (64, 1001)])
def test_a_strip_keeps_its_middle(height, width):
    image = smooth(height, width)
    off = np.abs(np.asarray(fitted(image, (16, 16)), dtype=int) - whole(image, (16, 16)))
    assert off.max() <= 200 / min(height, width) / 4 + 2, "off by a quarter of a pixel at most"


@pytest.mark.parametrize("shape", [(200_000, 1), (1, 200_001), (2, 150_000)])
def test_a_strip_is_not_scaled_whole(shape, monkeypatch):
    """It would have 13 thousand million pixels."""
    scaled, resize = [], Image.Image.resize

    def watched(image, size, *options):
        scaled.append(size[0] * size[1])
        assert scaled[-1] <= 9 * 256 * 256
        return resize(image, size, *options)

    monkeypatch.setattr(Image.Image, "resize", watched)
    assert fitted(Image.new("RGB", shape, (9, 8, 7)), (256, 256)).getcolors() == [(256 * 256, (9, 8, 7))]
    assert scaled


@pytest.mark.parametrize("size", [(1, 64), (64, 1), (1, 1)])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 2), (1, 500), (500, 1)])
def test_any_shape_comes_to_any_size(shape, size):
    assert fitted(Image.new("RGB", shape), size).size == (size[1], size[0])


def test_the_rule_is_told():
    assert resize_rule((16, 32)) == "centre crop to 16x32, box then bicubic"


def save_all_kinds(folder):
    """Files, and what they are; "" for those in colour."""
    colour = Image.fromarray(noise(8, 8))
    clear = Image.fromarray(noise(8, 8, channels=4))
    opaque = colour.convert("RGBA")
    palette = colour.quantize(16)
    kinds = {
        "rgb.png": (colour, {}, ""),
        "rgb.jpg": (colour, {}, ""),
        "rgb.webp": (colour, {}, ""),
        "palette.png": (palette, {}, ""),
        "opaque.png": (opaque, {}, ""),
        "l.png": (colour.convert("L"), {}, "grey"),
        "l.jpg": (colour.convert("L"), {}, "grey"),
        "la.png": (colour.convert("LA"), {}, "grey"),
        "one.png": (colour.convert("1"), {}, "grey"),
        "sixteen.png": (Image.fromarray(noise(8, 8)[..., 0].astype(np.uint16) * 257), {}, "grey"),
        "cmyk.jpg": (colour.convert("CMYK"), {}, "CMYK"),
        "clear.png": (clear, {}, "transparent"),
        "hole.png": (palette, {"transparency": 0}, "transparent"),
        "one-colour.png": (colour, {"transparency": tuple(map(int, noise(8, 8)[0, 0]))}, "transparent"),
    }
    for name, (image, options, _) in kinds.items():
        image.save(folder / name, **options)
    found = {name: kind for name, (*_, kind) in kinds.items()}
    (folder / "text.png").write_text("not an image at all")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "rgb.png").read_bytes()[:120])
    (folder / "nowhere.png").symlink_to(folder / "missing.png")
    os.mkfifo(folder / "pipe.png")  # which would be waited for
    colour.save(folder / "gif.png", format="GIF")
    return found | dict.fromkeys(
        ("text.png", "empty.jpg", "cut.png", "nowhere.png", "pipe.png", "gif.png"), "broken"
    )


def test_each_kind_of_file_is_told(tmp_path):
    expected = save_all_kinds(tmp_path)
    got = decode([tmp_path / name for name in expected], (8, 8))
    assert {
        name: one if isinstance(one, str) else "" for name, one in zip(expected, got, strict=True)
    } == expected
    pixels = dict(zip(expected, got, strict=True))
    assert (pixels["rgb.png"] == noise(8, 8)).all()
    assert (pixels["opaque.png"] == noise(8, 8)).all()


def test_a_decompression_bomb_is_broken(tmp_path, monkeypatch):
    small, large = picture(tmp_path / "small.png", 10, 10), picture(tmp_path / "large.png", 10, 11)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert [isinstance(one, str) for one in decode([small, large], (8, 8))] == [False, True]


def test_batches_pass_over_what_is_no_image(tmp_path):
    for index in range(5):
        picture(tmp_path / f"{index}.png", seed=index)
    Image.new("L", (8, 8)).save(tmp_path / "1.png")
    Image.new("L", (8, 8)).save(tmp_path / "4.png")
    got = list(batches(tmp_path, image_files(tmp_path), (8, 8), 2))
    assert [(tuple(images.shape), faults) for images, faults in got] == [
        ((1, 3, 8, 8), ["1.png: grey"]),
        ((2, 3, 8, 8), []),
        ((0, 3, 8, 8), ["4.png: grey"]),
    ]
    assert (got[1][0][1].permute(1, 2, 0).numpy() == noise(8, 8, 3)).all()


def test_the_summary_counts_and_names():
    faults = ["a.png: grey", "b: c.png: broken", "d.png: grey", "e.png: CMYK"]
    assert told(faults, 90) == (
        "4 of 90 images are unfit (2 grey, 1 broken, 1 CMYK; first: a.png, b: c.png, d.png)"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b"\xff.png")
    picture(tmp_path / name)
    assert image_files(tmp_path) == [name]
    assert "\\udcff.png" in told([f"{name}: grey"], 1)
