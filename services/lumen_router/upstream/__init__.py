"""The pods behind the router: which there are, which gets a call, and how it gets there."""
