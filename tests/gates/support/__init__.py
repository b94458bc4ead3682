"""What several gates share: a checkout, small clips, commands, runs on the disk, strace."""
