"""Work that is shared out over processes and machines, by engines that exist for it."""
