"""psp_jax: predict from RGB alone how a depth image would be cut into uniform regions."""
