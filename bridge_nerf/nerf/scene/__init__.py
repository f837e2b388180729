"""The object and what looks at it: field, rendering, regularisers, background, cameras."""
