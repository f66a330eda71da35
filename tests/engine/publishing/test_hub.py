"""Names of repositories, as the Hub's library takes them; uploads are tested with ``verydeep push``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peers import need
from verydeep.engine.publishing.hub import check_repository
from verydeep.errors import VerydeepError

ALPHABET = st.text("aZ0-_. é@:", max_size=12)


def is_taken(repository: str) -> bool:
    try:
        check_repository(repository)
    except VerydeepError:
        return False
    return True


@given(ALPHABET, ALPHABET)
def test_what_we_take_the_hub_takes(owner: str, name: str) -> None:
    need("huggingface_hub")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    repository = f"{owner}/{name}"
    try:
        validate_repo_id(repository)
    except HFValidationError:
        assert not is_taken(repository)


@pytest.mark.parametrize("repository", ["jane/vgg", "a/b", "Jane-Doe/VGG_16.v2", "j_/x9"])
def test_usual_names_are_taken(repository: str) -> None:
    assert is_taken(repository)


@pytest.mark.parametrize("repository", ["vgg", "", "/", "jane/", "/vgg", "a/b/c", "jane/-x", "jane/a--b", "jane/a..b"])
def test_others_are_not(repository: str) -> None:
    assert not is_taken(repository)
