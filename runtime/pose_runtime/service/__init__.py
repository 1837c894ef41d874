"""What the service manager hears: ready, alive, stopping; and a log with fields. Nothing where there is no systemd."""
