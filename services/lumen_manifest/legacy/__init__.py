"""Everything older: the single server's YAML and environment, as LumenModelServices."""
