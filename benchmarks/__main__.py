"""`python -m benchmarks COMMAND`: see README.md beside this file."""

import sys

from .cli import main

sys.exit(main())
