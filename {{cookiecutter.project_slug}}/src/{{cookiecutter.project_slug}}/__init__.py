"""The model and everything that makes it: one module a stage of dvc.yaml."""
