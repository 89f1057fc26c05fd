"""The home of requests that are over: what another configuration would have made of them."""
