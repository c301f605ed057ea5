"""Keeps the processes of a run alive: started, probed, restarted, drained."""
