"""The widgets, one module a tab: each lays out its tab and hands what visitors enter to one call."""
