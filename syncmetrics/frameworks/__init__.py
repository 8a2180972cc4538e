"""One room for each framework, which is imported only when one of its objects is met or asked for."""
