"""The toybox: a procedural captioned world, its judge, and the training of its prior."""
