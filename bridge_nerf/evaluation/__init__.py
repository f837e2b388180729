"""Measuring images: statistics as pure functions, the toybox's figures."""
