"""The operator: keeps what runs in a cluster equal to what its LumenModelServices ask for."""
