"""The parts all architectures are built from. Shape letters are explained in each file."""
