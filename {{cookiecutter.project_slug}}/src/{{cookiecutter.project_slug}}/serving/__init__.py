"""The HTTP side of the service: requests, answers, pages, metrics and the prediction log."""
