"""The closed sets that the protocol, the manifest and the label sets share."""
