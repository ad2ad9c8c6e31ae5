"""Datasets of the Hugging Face hub, streamed: `hf:OWNER/NAME`, `hf:OWNER/NAME/CONFIGURATION`, both also with `:SPLIT`.

Rows are read in the order of the hub's files; nothing but the library's own index is kept on the disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from dodam.data.readers.row import Rows
from dodam.errors import DataError, UsageError

HUB = "hf:"


def hub_rows(path: str, encoding: str) -> Rows:
    """The rows of one split, `train` where none is named."""
    name, configuration, split = parts(path)
    try:
        from datasets import load_dataset  # type: ignore[import-not-found]
    except ImportError:
        mend = "Install it with pip install 'dodam[data]', or datasets alone."
        raise UsageError("reading from the hub needs the package datasets", where=path, mend=mend) from None

    with _reached(path):
        found = load_dataset(name, configuration or None, split=split, streaming=True)
        for number, row in enumerate(found, start=1):
            yield f"{path}:{number}", row


def parts(path: str) -> tuple[str, str, str]:
    """`hf:owner/name/ko:test` -> (owner/name, ko, test)."""
    name, _, split = path.removeprefix(HUB).partition(":")
    owner, _, rest = name.partition("/")
    dataset, _, configuration = rest.partition("/")
    if not all(name.split("/")):
        raise UsageError("is no dataset's name", where=path, mend="Such as hf:owner/name or hf:owner/name:test.")
    return f"{owner}/{dataset}" if dataset else owner, configuration, split or "train"


def revision(path: str) -> str:
    """What a dataset's content is called on the hub; changes with it."""
    from huggingface_hub import HfApi

    with _reached(path):
        return str(HfApi().dataset_info(parts(path)[0]).sha)


@contextmanager
def _reached(path: str) -> Iterator[None]:
    """Within, whatever the hub and its libraries say is a DataError: their exceptions are of many kinds."""
    try:
        yield
    except Exception as error:
        what = f"cannot be read from the hub ({' '.join(str(error).split())[:200] or type(error).__name__})"
        mend = "Is the name right, and the network there? Without one, download the dataset and name its folder."
        raise DataError(what, where=path, mend=mend) from None
