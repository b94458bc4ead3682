"""`python -m modeltest` is the same program as the `modeltest` command."""

import sys

from modeltest.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
