"""What all doors that speak HTTP share: endpoints and how they are found, strict JSON, errors, CORS, limits."""
