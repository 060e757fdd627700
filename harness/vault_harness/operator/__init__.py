"""What an operator does: rotate, migrate, back up, restore, audit, examine."""
