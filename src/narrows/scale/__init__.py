"""Training and indexing by several processes and machines: torch's DDP, and Ray."""
