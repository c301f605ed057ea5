"""`python -m lumen_router`: the router of one namespace, or of `lumen up`."""

import os

# gRPC's own notes about connections that come and go; its errors stay. Read when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from lumen_router.main import main

if __name__ == "__main__":
    main()
