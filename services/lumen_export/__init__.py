"""From a model on torch to files for other runtimes, each proven against its source."""
