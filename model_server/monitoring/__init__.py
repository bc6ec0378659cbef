"""How the service is watched: rules, routes, objectives, dashboards, and what generates the repetitive ones of them."""
