"""What something was made with: versions of this package and of those that shape its numbers."""

import platform


def versions() -> dict[str, str]:
    """What the run was made with."""
    import numpy
    import tokenizers
    import torch

    from dodam import __version__

    return {
        "dodam": __version__,
        "torch": torch.__version__,
        "tokenizers": tokenizers.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
    }
