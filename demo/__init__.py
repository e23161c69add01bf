"""Real footage for a first run, built when asked for and served on loopback; nothing of it is stored in the
repository."""
