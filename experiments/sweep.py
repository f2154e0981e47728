"""`coconut sweep` over the space in spaces.py, from a checkout: `python experiments/sweep.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from coconut.cli import main

SPACE = f"{Path(__file__).resolve().with_name('spaces.py')}:voices"

if __name__ == "__main__":
    sys.exit(main(["sweep", "--space", SPACE, *sys.argv[1:]]))
