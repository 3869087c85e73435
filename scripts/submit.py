"""The one entry that spark-submit gets: `spark-submit scripts/submit.py batch …` runs `cloudlake batch …`."""

import sys

from cloudlake.cli import main

if __name__ == "__main__":
    sys.exit(main())
