"""The run folder: what is written there, and the pictures and tables drawn from it."""
