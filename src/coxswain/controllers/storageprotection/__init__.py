"""Claims and volumes that are in use outlive their deletion: finalizers that go when the last user went."""
