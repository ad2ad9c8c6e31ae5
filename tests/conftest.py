"""What holds for every test: one thread each (pytest runs several workers), no downloads, no chatter from tokenizers.

They are environment variables, set before torch is first imported, so that commands started by a test have them too.
"""

import os

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUTF8": "1",
}
