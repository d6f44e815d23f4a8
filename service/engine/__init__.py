"""Who owns the device."""
