"""Tests of the package: one file a module, on tables of a few rows and on a small world."""
