"""The cluster's API server, as router and operator read it: found, listed, watched."""
