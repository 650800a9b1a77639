# SPDX-License-Identifier: Apache-2.0
"""Entry point of the `hutong` command: puts lab/ and bench/ on the path and hands over."""

import os
import sys

_REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(_REPO, "lab"))
sys.path.insert(0, os.path.join(_REPO, "bench"))

from hutonglab.cli import main  # noqa: E402 (the path comes first)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
