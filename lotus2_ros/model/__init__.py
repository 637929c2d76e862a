"""The two-stage Lotus-2 network: weight files, LoRA, latents, flow schedule, and how they fit."""
