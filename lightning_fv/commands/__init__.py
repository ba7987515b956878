"""What one types: one file per command."""
