"""What server, router and client share: the protocol, its rules and its errors."""
