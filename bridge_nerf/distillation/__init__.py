"""The paper. Every objective moves x along w(t) (eps_target - eps_source); see `objectives`."""
