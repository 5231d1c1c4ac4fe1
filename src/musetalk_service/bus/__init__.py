"""The Bus: the one interface between the front and its engine hosts."""
