"""A rendered pod as processes of this machine: environment, ports, plans."""
