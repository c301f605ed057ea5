"""From payloads to model input: pictures to squares of bytes, texts to token rows."""
