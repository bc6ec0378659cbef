"""Locust, with the options of a harness load also for a locustfile that does not know the harness."""

from locust.main import main

import harness.load.locust  # noqa: F401  its options and listeners

if __name__ == "__main__":
    main()
