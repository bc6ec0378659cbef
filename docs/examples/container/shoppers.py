"""Shoppers who look into their baskets, each independent of the others."""

from harness.load.arrivals import poisson
from harness.load.locust import OpenModelUser, Request


class Shopper(OpenModelUser):
    arrivals = poisson(60, seed=7)
    timeout_s = 5.0
    basket = Request("GET", "/basket")

    def request(self, k):
        return self.basket
