"""The load test: people with two devices each, by locust, against a service on this machine; see `__main__`."""
