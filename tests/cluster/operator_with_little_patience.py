"""Start the operator so that its audit judges soon: `operator_with_little_patience.py SOCKET`.

How long a difference lasts until liveness fails is no setting: it is beyond the time after which a
watch that fell silent is begun anew. Here the watches are not silent, and minutes need not pass.
SOCKET is where simulated pods are asked: see operator_beside_pods.py.
"""

import sys
from functools import partial

import aiohttp

from lumen_operator.main import main
from lumen_operator.observe import audit

if __name__ == "__main__":
    audit.LASTING_S = 10.0
    audit.LOOK_AGAIN_S = 2.0
    main(partial(aiohttp.UnixConnector, path=sys.argv[1], force_close=True))
