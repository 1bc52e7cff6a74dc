"""Training of the bundled codec models and priors; needs torch, never imported by the codec itself."""
