"""The training commands: each assembles a model, batches and an objective, and hands them to the one loop."""
