"""Score distillation as a Schrodinger bridge."""
