"""Projects that use the library as a user does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from user_project import Project, copy_library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as a user gets it: a folder with the files that library.json exports."""
    folder = tmp_path_factory.mktemp("library") / "DeepCompress"
    copy_library(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path, pio: Callable, library: Path) -> Project:
    """A project that names one model, models/net.pt, a file with the number 7."""
    return Project(tmp_path / "project", pio, library)
