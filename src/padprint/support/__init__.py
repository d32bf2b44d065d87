"""What every part uses and nothing of padprint is needed for."""
