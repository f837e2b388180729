"""Everything that waits for a GPU, as one command: is it right, how fast is it, do whole runs end well.

    make card                                              # all three parts, then the page
    python -m benchmarks.card correctness --out DIR        # one part: at most ten minutes
    python -m benchmarks.card report --out DIR             # docs/card.md and its JSON from what DIR holds
    python -m benchmarks.card all --device cpu --small     # a rehearsal on tiny shapes

Priors have random weights of the true shapes, or are the toybox that ships: nothing is downloaded. An item is
a function that answers figures; each runs in a process of its own, which may crash or hang without taking the
rest along, and its figures are on disk before the next begins.
"""
