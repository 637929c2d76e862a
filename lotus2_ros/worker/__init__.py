"""The model's process and its client; the client side (`client`) never imports torch."""
