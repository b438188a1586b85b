"""Single cascade network with an extra classification task (Humpire-Mamani 2019)."""
