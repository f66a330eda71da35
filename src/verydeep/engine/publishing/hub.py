"""Uploads to the Hugging Face Hub, and why an upload failed."""

import gc
import http.client
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError

from verydeep.configs.published_nets import REPOSITORY
from verydeep.errors import OptionError, ResourceError


def check_repository(repository: str) -> None:
    """Refuse a name that the Hub does not take for a repository.

    Raises:
        OptionError: the name is not OWNER/NAME.
    """
    if not REPOSITORY.fullmatch(repository) or any(bad in repository for bad in ("--", "..")):
        raise OptionError(
            f"{repository!r} is not a repository name: write OWNER/NAME with letters, digits, '-', '_' and '.', but "
            "without '--' and '..'.",
            "repository",
        )


def upload(files: Mapping[str, Path], repository: str, *, private: bool) -> str:
    """Put files into a repository in one commit and return its address; a missing repository is made.

    Args:
        files: paths on this machine, by their paths in the repository.
        repository: OWNER/NAME.
        private: makes a new repository private; otherwise the owner's settings decide, public by default.

    Raises:
        ResourceError: there is no token, or it is not accepted, or the Hub cannot be reached, or a repository that
            should be private is public.
    """
    if get_token() is None:
        raise ResourceError("The Hub needs to know who you are: log in with `hf auth login`, or set HF_TOKEN.")
    api = HfApi()
    try:
        return commit(api, files, repository, private=private)
    except ResourceError:
        raise
    except Exception as error:  # the library raises errors of its own, of the Hub and of the network, variously wrapped
        reason = describe_failure(error, repository, api.endpoint)
    gc.collect()  # ends the progress bars that the error kept open, so that the message has a line of its own
    raise ResourceError(reason)


def commit(api: HfApi, files: Mapping[str, Path], repository: str, *, private: bool) -> str:
    """Upload as ``upload`` does, without explaining errors of the library."""
    address = api.create_repo(repository, private=private or None, exist_ok=True)
    if private and not api.repo_info(repository).private:
        raise ResourceError(f"{address} is already public: make it private there, or choose another name.")
    operations = [CommitOperationAdd(name, path) for name, path in files.items()]
    api.create_commit(repository, operations, commit_message="Upload by verydeep push")
    return str(address)


def describe_failure(error: BaseException, repository: str, endpoint: str) -> str:
    """Return a sentence about the cause of an error, and the way out."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    refusal = next((each for each in causes if isinstance(each, HfHubHTTPError)), None)
    if refusal is None:
        reason = str(causes[-1]).strip().partition("\n")[0] or type(causes[-1]).__name__
        return f"{repository} cannot be uploaded to {endpoint} ({reason}): check the network, and try again."
    status = refusal.response.status_code
    if status == 401:
        return f"{endpoint} does not accept this token: log in with `hf auth login`, or set HF_TOKEN to another one."
    if status == 403:
        return f"This token may not write to {repository}: make one that may, or choose another owner."
    reason = refusal.server_message or http.client.responses.get(status, "no reason given")
    return f"{endpoint} refused {repository} ({status}: {reason}): try again later."
