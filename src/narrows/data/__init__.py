"""Where rows come from, and how they are scaled on the way in and out."""
