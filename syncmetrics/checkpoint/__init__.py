"""How metrics are saved, and resumed: `state_dict` says what stands in the state dict of a module."""
