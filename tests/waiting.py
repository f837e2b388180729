"""How long the tests wait for what must come."""

PATIENCE = 600.0
"""Seconds after which something counts as hanging, on however slow and busy a machine; never a measure of
speed.
"""
