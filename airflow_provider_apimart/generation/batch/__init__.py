"""Many generations in one task: a plan, a journal of what became of each row, and the engine that carries it out."""
