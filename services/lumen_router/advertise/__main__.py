"""`python3 -m lumen_router.advertise` is the announcer."""

import sys

from lumen_router.advertise.announcer import main

if __name__ == "__main__":
    sys.exit(main())
