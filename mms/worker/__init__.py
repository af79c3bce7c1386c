"""The worker process: runs the model of one archive and never speaks HTTP."""
