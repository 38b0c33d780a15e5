"""Other packages for the same job, and the processes in which they are timed."""
