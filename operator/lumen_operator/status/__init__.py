"""What is said of a service or a pool: status, conditions and events. Pure."""
