"""The training core: one loop, objectives, optimisers, exact resume. It knows no task."""
