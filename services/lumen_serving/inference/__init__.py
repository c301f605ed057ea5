"""From model input to vectors: admission, decode threads, the queue and the engine."""
