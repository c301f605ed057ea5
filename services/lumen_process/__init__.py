"""What every process of Lumen needs, whatever it does: logs, signals, status pages, addresses."""
