"""`python -m fastrerank` is the command `fastrerank`."""

import sys

from .cli import main

sys.exit(main())
