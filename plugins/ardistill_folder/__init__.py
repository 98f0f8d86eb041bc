"""Real images from a folder, and data of which no image is at hand, only statistics.

Importing this package imports no torch.
"""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import DatasetOffer

ardistill_api = 1


@hookimpl
def ardistill_datasets() -> Iterator[DatasetOffer]:
    yield DatasetOffer(
        name="folder",
        summary="a folder of images for each class (ImageFolder layout)",
        target="ardistill_folder.data:folder",
        config="ardistill_folder.config:FolderConfig",
    )
    yield DatasetOffer(
        name="classes",
        summary="no images, only how many classes: to judge against a file of statistics",
        target="ardistill_folder.classes:classes",
        config="ardistill_folder.config:ClassesConfig",
    )
