"""Announces the router's Service on the local network by mDNS."""
