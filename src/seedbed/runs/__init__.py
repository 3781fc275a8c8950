"""The run folder, and the table of earlier runs that their folders make."""
