"""Whether two sides compute the same, stage by stage, and where they begin not to."""
