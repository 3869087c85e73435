"""`python -m cloudlake.cli`: the command line where the `cloudlake` script is not on the PATH."""

import sys

from .main import main

sys.exit(main())
