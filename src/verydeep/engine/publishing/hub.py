"""Uploads to the Hugging Face Hub, and what is said where they fail."""

# ruff: noqa: PLC0415 - only those who ask for the Hub wait for its library

import gc
import http.client
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from verydeep.configs.published import REPOSITORY
from verydeep.errors import VerydeepError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def check_repository(repository: str) -> None:
    """Refuse what the Hub does not take for a repository.

    Raises:
        VerydeepError: it is not OWNER/NAME.
    """
    if not REPOSITORY.fullmatch(repository) or any(bad in repository for bad in ("--", "..")):
        raise VerydeepError(
            f"{repository!r} is no repository: write OWNER/NAME, of letters, digits, and single '-', '_' and '.'."
        )


def upload(files: Mapping[str, Path], repository: str, *, private: bool) -> str:
    """Put files into a repository in one commit, and make the repository if there is none; its address.

    Args:
        files: on this machine, by their paths in the repository.
        repository: OWNER/NAME.
        private: for the owner's eyes only; else a new repository is as the owner's settings have it, mostly public.

    Raises:
        VerydeepError: there is no token, it does not do, the Hub cannot be reached, or a repository that was to be
            private is public.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise VerydeepError("The Hub wants to know who you are: log in with `hf auth login`, or set HF_TOKEN.")
    api = HfApi()
    try:
        return commit(api, files, repository, private=private)
    except VerydeepError:
        raise
    except Exception as error:  # the library wraps those of the network, the Hub and its own in all kinds of others
        words = failure_in_words(error, repository, api.endpoint)
    gc.collect()  # ends the progress bars that the error held open, so that the sentence has a line of its own
    raise VerydeepError(words)


def commit(api: "HfApi", files: Mapping[str, Path], repository: str, *, private: bool) -> str:
    """What ``upload`` does, where nothing fails."""
    from huggingface_hub import CommitOperationAdd

    address = api.create_repo(repository, private=private or None, exist_ok=True)
    if private and not api.repo_info(repository).private:
        raise VerydeepError(f"{address} is public already: make it private there, or choose another name.")
    operations = [CommitOperationAdd(name, path) for name, path in files.items()]
    api.create_commit(repository, operations, commit_message="Upload by verydeep push")
    return str(address)


def failure_in_words(error: BaseException, repository: str, endpoint: str) -> str:
    """What happened, and what to do."""
    from huggingface_hub.errors import HfHubHTTPError

    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    refusal = next((each for each in causes if isinstance(each, HfHubHTTPError)), None)
    if refusal is None:
        what = str(causes[-1]).strip().partition("\n")[0] or type(causes[-1]).__name__
        return f"{repository} cannot be pushed to {endpoint} ({what}): check the network, and try again."
    status = refusal.response.status_code
    if status == 401:
        return f"{endpoint} does not know this token: log in with `hf auth login`, or set HF_TOKEN to another."
    if status == 403:
        return f"This token may not write to {repository}: make one that may, or choose another OWNER."
    said = refusal.server_message or http.client.responses.get(status, "no reason given")
    return f"{endpoint} refused to take {repository} ({status}: {said}): try again later."
