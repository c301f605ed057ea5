"""The custom resources: models, parsing, CRD generation, names and the pure rendering of pods."""
