"""`python -m lumen_router`: the router of one namespace, or of `lumen up`."""

import os

# Both are read when gRPC is imported.
# gRPC's own notes about connections that come and go; its errors stay.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# The thread that waits for completed calls reads and writes the sockets, too. gRPC's default hands
# them to a pool of threads of its own, whose wake-ups cost a tenth of the router's CPU.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

from lumen_router.main import main

if __name__ == "__main__":
    main()
