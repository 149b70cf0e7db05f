"""Tests of the promises about files, signals and damage in docs/reliability.md."""
