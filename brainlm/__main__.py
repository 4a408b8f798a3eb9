"""`python -m brainlm` is the command `brainlm`."""

import sys

from brainlm.cli import main

if __name__ == "__main__":
    sys.exit(main())
