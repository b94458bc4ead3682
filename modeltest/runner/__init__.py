"""Plans and runs the work: the only place where tasks, backends and logs meet."""
