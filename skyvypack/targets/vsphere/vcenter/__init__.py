"""Effects on a vCenter: sessions, uploads, inventory, tags. pyvmomi is imported inside functions only."""
