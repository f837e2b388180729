from pathlib import Path

import pytest

from tests.priors.tiny import WORDS, build_tiny_pipeline


@pytest.fixture(scope="session")
def closed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline that predicts v and has a closed vocabulary, as the toybox prior. Not to be changed."""
    return build_tiny_pipeline(tmp_path_factory.mktemp("closed"), "v_prediction", words=WORDS)


@pytest.fixture(scope="session")
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline that predicts eps and takes any word, as Stable Diffusion. Not to be changed."""
    return build_tiny_pipeline(tmp_path_factory.mktemp("open"), "epsilon")
