"""Find the shortest sequence of faults that breaks a client."""
