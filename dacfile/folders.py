"""Where models and priors lie on this machine, and how their files are called. Standard library only.

The user's store is the folder that `DACZ_MODELS` names, else `dacz` in the XDG data folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from dacfile.errors import UsageError

BUNDLED = Path(__file__).parent / "weights"
MODEL_SUFFIX = ".safetensors"
PRIOR_SUFFIX = ".prior" + MODEL_SUFFIX  # priors lie beside the models


def user_folder() -> Path:
    """Return the folder of what the user has installed; it need not exist.

    Raises UsageError where it cannot be known: without `DACZ_MODELS`, for a user who has no home.
    """
    chosen = os.environ.get("DACZ_MODELS")
    if chosen:
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "dacz"
    except RuntimeError:
        raise UsageError("this user has no home folder: set DACZ_MODELS to a folder for models and priors") from None


def user_folders() -> tuple[Path, ...]:
    """Return the folder of what the user has installed, to look into; none for a user who has no home."""
    try:
        return (user_folder(),)
    except UsageError:
        return ()
