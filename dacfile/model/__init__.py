"""Models: networks that turn samples into codes and back, their weights and where these are kept."""
