"""What a service needs in the cluster, and what of it is missing, drifted or not ours. Pure."""
