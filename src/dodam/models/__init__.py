"""Architectures, one short file each, and how they are built from sizes."""
