"""What a run tells to people beside its files: its rows to a tracker, its curves as a page."""
