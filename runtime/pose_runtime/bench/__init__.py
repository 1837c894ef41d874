"""How long a bundle takes on a machine, and everything that makes that number comparable."""
