"""The configuration of one app."""
