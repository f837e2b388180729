"""The widgets, one module a tab: each lays out its tab and hands inputs to one call."""
