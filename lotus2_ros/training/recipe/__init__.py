"""The paper's recipe for any FLUX base: core predictor, then detail sharpener, resumable."""
