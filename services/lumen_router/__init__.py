"""One door to all model services: routing, retries and the cascade."""
