"""Start the operator where pods are simulated: `python operator_beside_pods.py SOCKET`.

Nobody answers at a simulated pod's address, and no packet may leave this machine for it: whatever
the operator asks a pod goes to a Unix socket, where a test answers, or nobody listens.
"""

import sys
from functools import partial

import aiohttp

from lumen_operator.main import main

if __name__ == "__main__":
    main(partial(aiohttp.UnixConnector, path=sys.argv[1], force_close=True))
