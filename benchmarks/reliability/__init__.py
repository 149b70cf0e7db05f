"""What Narrows promises of files, signals and damage, tried many times: docs/reliability.md."""
