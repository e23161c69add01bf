"""A dataset that is shown once, for the tests that only look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from curation.dataset.dataset import Dataset
from tests.support.dataset_files import make_dataset
from tests.support.viewing import Shown, shown


@pytest.fixture(scope="package")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Only read in these tests."""
    return make_dataset(tmp_path_factory.mktemp("view") / "talks", videos=3, uncaptioned=1)


@pytest.fixture(scope="package")
def view(dataset: Dataset) -> Iterator[Shown]:
    with shown(str(dataset.folder)) as running:
        yield running
