"""Prepare the process before torch is imported; entry scripts import this file first.

It names packages that are not installed, and sets how the threads of OpenMP work: torch, faiss and
scikit-learn read that once, when their libraries are loaded.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

PACKAGES = [  # what every command needs, by the names that Python imports
    *("torch", "torchvision", "yacs", "timm", "ftfy", "regex", "tqdm", "open_clip"),
    *("safetensors", "numpy", "PIL", "yaml", "huggingface_hub", "psutil"),
]
TRAINING_PACKAGES = {  # what training, evaluation and plots need in addition, and how to install it
    "skimage": "scikit-image",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "tensorboard": "tensorboard",
    "matplotlib": "matplotlib",
}
ACTIVATE = r".venv\Scripts\activate" if sys.platform == "win32" else "source .venv/bin/activate"


def check_packages() -> None:
    """Exit with the remedy if a package is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        sys.exit(
            f"error: not installed for {sys.executable}: {', '.join(missing)}\n"
            f"Activate the environment that has them ({ACTIVATE}), or install them: "
            "pip install -r requirements.txt"
        )


def share_cores() -> None:
    """Let threads sleep while they wait, and start no more of them than the process has cores.

    By default they wait busily, which takes the core from whoever has work: two runs at once would
    be several times slower than one after the other. What the user has set stays.
    """
    from config.machine import affine_cores, available_cores  # needs packages

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    cores = available_cores()
    if cores < affine_cores():  # by a quota, of which OpenMP knows nothing
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


check_packages()
share_cores()
