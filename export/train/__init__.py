"""Training of the bundled cross-encoder: mining, distillation, supervision, averaging."""
