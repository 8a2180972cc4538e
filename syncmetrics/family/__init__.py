"""What the families have in common: checks of arguments and inputs, one division, exact sums of fractions."""
