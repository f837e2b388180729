"""Measuring pictures: statistics as pure functions, the toybox's figures."""
