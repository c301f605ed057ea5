"""What is known of the cluster: decoded, kept, gathered for a key, and whom a change concerns."""
